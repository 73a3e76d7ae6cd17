// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/cmd/authsec/internal/cli"
	"github.com/authsec-go/authsec/dircache"
	"github.com/spf13/cobra"
	"golang.org/x/oauth2"
)

// tokenTimeout limits a whole run of token or header.
const tokenTimeout = time.Minute

// tokenReport is what token --json prints.
type tokenReport struct {
	Token     string          `json:"token"`
	ExpiresAt time.Time       `json:"expires_at"`
	Claims    json.RawMessage `json:"claims"` // not verified; null if the token is not a JWT
}

// tokenFlags are the flags of the commands that print the token.
type tokenFlags struct{ refresh, cache bool }

func newTokenFlags(cmd *cobra.Command) *tokenFlags {
	f := new(tokenFlags)
	cmd.Flags().BoolVar(&f.refresh, "refresh", false, "ask the server now, whatever is cached: after a new delegation, or if an API rejected the token")
	cmd.Flags().BoolVar(&f.cache, "cache", true, cacheUsage)
	return f
}

func tokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Print the token, and keep it for later runs",
		Long: "Prints the agent's token. It is a secret. For curl, use authsec header:\n" +
			"other users of the machine can read a command line.\n\n" + whereCached(),
		Example: `  authsec token > "$FILE"`,
	}
	asJSON := cmd.Flags().Bool("json", false, "print one JSON object with the token, its expiry and its claims")
	f := newTokenFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		t, err := f.token(cmd)
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(cmd, tokenReport{t.AccessToken, t.Expiry, payload(t.AccessToken)})
		}
		return printLine(cmd, t.AccessToken)
	}
	return cmd
}

func headerCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "header",
		Short: "Print the token as a header, for curl -H @-",
		Long: "Prints the agent's token as a header: Authorization: Bearer and the token. It is a\n" +
			"secret. curl reads it from a pipe, so it is on no command line.\n\n" + whereCached(),
		Example: `  authsec header | curl -H @- https://api.example.com/v1/customers`,
	}
	f := newTokenFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		t, err := f.token(cmd)
		if err != nil {
			return err
		}
		return printLine(cmd, "Authorization: Bearer "+t.AccessToken)
	}
	return cmd
}

// token returns the token that a command then prints.
func (f *tokenFlags) token(cmd *cobra.Command) (*oauth2.Token, error) {
	var cache *dircache.Cache
	src, cfg, err := sourceFromEnv(nil, func(cfg *authsec.Config) {
		if f.cache {
			cache = useUserCache(cfg, cmd)
		}
	})
	if err != nil {
		return nil, wrongEnvironment(err)
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), tokenTimeout)
	defer cancel()
	var t *oauth2.Token
	if f.refresh {
		t, err = src.Refresh(ctx)
	} else {
		t, err = impatient{src}.TokenContext(ctx)
	}
	if err != nil {
		return nil, cli.Advise(err, advice(err))
	}
	t = renewLate(ctx, cache, src, cfg, t)
	notCached(src.Stats().Cache.LastError, cmd)
	if cli.IsTerminal(cmd.OutOrStdout()) {
		say(cmd, "standard output is a terminal, and this token is a secret: whoever sees it can use and prolong it")
	}
	return t, nil
}

// say writes a line on standard error that is no failure.
func say(cmd *cobra.Command, format string, args ...any) {
	fmt.Fprintf(cmd.ErrOrStderr(), cmd.CommandPath()+": "+format+"\n", args...)
}

// printLine writes a command's result.
func printLine(cmd *cobra.Command, line string) error {
	_, err := fmt.Fprintln(cmd.OutOrStdout(), line)
	return unwritten(err)
}

// printJSON writes a command's result as one JSON object.
func printJSON(cmd *cobra.Command, result any) error {
	enc := json.NewEncoder(cmd.OutOrStdout())
	enc.SetIndent("", "  ")
	return unwritten(enc.Encode(result))
}

// unwritten adds advice to the error of a result that was not written.
func unwritten(err error) error {
	if err == nil {
		return nil
	}
	return cli.Advise(err, "check that standard output can be written to")
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
