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

// tokenTimeout limits a whole run of token.
const tokenTimeout = time.Minute

// tokenReport is what token -json prints.
type tokenReport struct {
	Token     string          `json:"token"`
	ExpiresAt time.Time       `json:"expires_at"`
	Claims    json.RawMessage `json:"claims"` // not verified; null if the token is not a JWT
}

func token(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("authsec token", flag.ContinueOnError)
	flags.SetOutput(stderr)
	asJSON := flags.Bool("json", false, "print one JSON object with the token, its expiry and its claims")
	renew := flags.Bool("renew", false, "ask the server now, whatever is cached: after a new delegation, or if an API rejected the token")
	useCache := flags.Bool("cache", true, cacheUsage)
	flags.Usage = func() {
		fmt.Fprint(stderr, "usage: authsec token [-json] [-renew] [-cache=false]\n\nPrints the agent's token. It is a secret.\n\n"+whereCached()+"\n")
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
	var t *oauth2.Token
	if *renew {
		t, err = src.Refresh(ctx)
	} else {
		t, err = impatient{src}.TokenContext(ctx)
	}
	if err != nil {
		return fail(stderr, "token", err, advice(err))
	}
	t = renewLate(ctx, cache, src, cfg, t)
	notCached(src.Stats().Cache.LastError, "token", stderr)
	if isTerminal(stdout) {
		fmt.Fprintln(stderr, "authsec token: standard output is a terminal, and this token is a secret: whoever sees it can use and prolong it")
	}
	if !*asJSON {
		_, err = fmt.Fprintln(stdout, t.AccessToken)
	} else {
		enc := json.NewEncoder(stdout)
		enc.SetIndent("", "  ")
		err = enc.Encode(tokenReport{t.AccessToken, t.Expiry, payload(t.AccessToken)})
	}
	if err != nil {
		return fail(stderr, "token", err, "check that standard output can be written to")
	}
	return 0
}

// impatient is a Source whose calls fail at once after a 429. A Source waits until
// the server accepts requests again if the context's deadline allows that, which
// can take minutes: too long for a person who waits for a command.
type impatient struct{ *authsec.Source }

func (s impatient) TokenContext(ctx context.Context) (*oauth2.Token, error) {
	return s.Source.TokenContext(noDeadline{ctx})
}

// noDeadline is a context that ends when its parent does, but does not say when.
type noDeadline struct{ context.Context }

func (noDeadline) Deadline() (time.Time, bool) { return time.Time{}, false }

// sourceFromEnv makes a Source from the environment. share may add a cache.
func sourceFromEnv(log *slog.Logger, share func(*authsec.Config)) (*authsec.Source, authsec.Config, error) {
	cfg, err := authsec.ConfigFromEnv()
	if err != nil {
		return nil, cfg, err
	}
	cfg.Logger = log
	share(&cfg)
	src, err := authsec.NewSource(cfg)
	return src, cfg, err
}

// payload returns the claims of a JWT as JSON, or nil.
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

// isTerminal reports whether w is a terminal or a similar device.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
