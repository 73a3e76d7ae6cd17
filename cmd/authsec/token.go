// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/dircache"
	"golang.org/x/oauth2"
)

// tokenTimeout bounds a whole run of token.
const tokenTimeout = time.Minute

// tokenReport is what token -json prints.
type tokenReport struct {
	Token     string          `json:"token"`
	ExpiresAt time.Time       `json:"expires_at"`
	Claims    json.RawMessage `json:"claims"` // not verified; null if the token is no JWT
}

func token(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("authsec token", flag.ContinueOnError)
	flags.SetOutput(stderr)
	asJSON := flags.Bool("json", false, "print one JSON object with the token, its expiry and its claims")
	renew := flags.Bool("renew", false, "ask the server now, whatever the cache has: after a new delegation, or for a token that was refused")
	useCache := flags.Bool("cache", true, cacheUsage)
	flags.Usage = func() {
		fmt.Fprint(stderr, "usage: authsec token [-json] [-renew] [-cache=false]\n\nPrints the agent's token, which is a secret.\n\n"+whereCached()+"\n")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "authsec token: unexpected argument %q\n", flags.Arg(0))
		return 2
	}
	var cache *dircache.Cache
	src, cfg, err := sourceFromEnv(nil, func(cfg *authsec.Config) {
		if *useCache {
			cache = useUserCache(cfg, "token", stderr)
		}
	})
	if err != nil {
		return fail(stderr, "token", err, "correct the environment as named above")
	}
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	defer src.Flush(context.Background()) // so that the next run has it; bounded by itself
	var t *oauth2.Token
	if *renew {
		t, err = src.Renew(ctx, nil)
	} else {
		t, err = src.TokenContext(ctx)
	}
	if err != nil {
		return fail(stderr, "token", err, advice(err))
	}
	t = renewLate(ctx, cache, src, cfg, t)
	if isTerminal(stdout) {
		fmt.Fprintln(stderr, "authsec token: this token is a secret, and standard output is a terminal: whoever sees it can use it until it expires")
	}
	if !*asJSON {
		_, err = fmt.Fprintln(stdout, t.AccessToken)
	} else {
		enc := json.NewEncoder(stdout)
		enc.SetIndent("", "  ")
		err = enc.Encode(tokenReport{t.AccessToken, t.Expiry, payload(t.AccessToken)})
	}
	if err != nil {
		return fail(stderr, "token", err, "see that standard output can be written to")
	}
	return 0
}

// sourceFromEnv makes a Source as the environment says, with the cache that share
// adds.
func sourceFromEnv(log *slog.Logger, share func(*authsec.Config)) (*authsec.Source, authsec.Config, error) {
	cfg, err := authsec.ConfigFromEnv()
	if err != nil {
		return nil, cfg, err
	}
	cfg.Logger = log
	cfg.FailFast = true // who waits for a command or a proxy is told at once
	share(&cfg)
	src, err := authsec.NewSource(cfg)
	return src, cfg, err
}

// payload is a JWT's claims as they stand in it, or nil.
func payload(jwt string) json.RawMessage {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return nil
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || !json.Valid(claims) {
		return nil
	}
	return claims
}

// isTerminal reports whether w is a terminal, or a device like one.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
