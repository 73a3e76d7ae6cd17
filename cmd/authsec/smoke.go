// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/cmd/authsec/internal/answers"
	"github.com/authsec-go/authsec/cmd/authsec/internal/cli"
	"github.com/authsec-go/authsec/internal/wire"
	"github.com/spf13/cobra"
)

// smokeTimeout limits the whole run.
const smokeTimeout = time.Minute

// report is the result of a run, as --json prints it.
type report struct {
	OK          bool       `json:"ok"`
	Server      string     `json:"server"` // its URL, or "embedded"
	SPIFFEID    string     `json:"spiffe_id,omitempty"`
	Permissions []string   `json:"permissions,omitempty"`
	ExpiresAt   *time.Time `json:"expires_at,omitempty"`
	Steps       []step     `json:"steps"`
	Do          string     `json:"do,omitempty"` // what to do about the failure
	Millis      int64      `json:"ms"`
}

type step struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// smoker does the steps of one run.
type smoker struct {
	ctx      context.Context
	report   report
	clientID string
	each     func(step) // called after each step
	sent     bool       // the last call sent the token
}

// RoundTrip is the base of the client that calls the API. It notes whether the
// token is sent.
func (s *smoker) RoundTrip(req *http.Request) (*http.Response, error) {
	s.sent = s.sent || req.Header.Get("Authorization") != ""
	return http.DefaultTransport.RoundTrip(req)
}

func smokeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "smoke",
		Short: "Get a token, call a protected API, call it again with the cached token",
		Long: `Gets a delegation token, calls a protected API with it, and calls it again with
the cached token. With AUTHSEC_BASE_URL and AUTHSEC_AGENT_CLIENT_ID it uses that
server, and calls DOWNSTREAM_URL if that is set. With neither of the two it starts a
server and an API of its own.`,
		Annotations: map[string]string{cli.Footer: environment},
	}
	asJSON := cmd.Flags().Bool("json", false, "print one JSON object instead of lines")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return smoke(cmd.Context(), *asJSON, cmd.OutOrStdout())
	}
	return cmd
}

func smoke(ctx context.Context, asJSON bool, stdout io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, smokeTimeout)
	defer cancel()
	s := &smoker{ctx: ctx, each: func(step) {}}
	if !asJSON {
		s.each = func(st step) {
			mark := "ok  "
			if !st.OK {
				mark = "FAIL"
			}
			fmt.Fprintf(stdout, "%s  %-13s  %s\n", mark, st.Name, st.Detail)
		}
	}
	began := time.Now()
	var err error
	if os.Getenv("AUTHSEC_BASE_URL") == "" && os.Getenv("AUTHSEC_AGENT_CLIENT_ID") == "" {
		s.report.Server = "embedded"
		err = s.embedded()
	} else {
		err = s.environment()
	}
	s.report.OK, s.report.Millis = err == nil, time.Since(began).Milliseconds()
	if err != nil {
		s.report.Do = advice(err)
	}
	switch {
	case asJSON:
		enc := json.NewEncoder(stdout)
		enc.SetIndent("", "  ")
		if err := enc.Encode(s.report); err != nil {
			return unwritten(err)
		}
	case err == nil:
		_, err := fmt.Fprintf(stdout, "PASS: %d steps in %d ms against %s\n", len(s.report.Steps), s.report.Millis, s.server())
		return unwritten(err)
	default:
		fmt.Fprintf(stdout, "FAIL: %s\n", s.report.Do)
	}
	if err != nil {
		return cli.ErrFailed
	}
	return nil
}

func (s *smoker) server() string {
	if s.report.Server == "embedded" {
		return "the embedded server"
	}
	return s.report.Server
}

// step does one step and reports its outcome.
func (s *smoker) step(name string, do func() (detail string, err error)) error {
	detail, err := do()
	st := step{Name: name, OK: err == nil, Detail: s.hide(detail)}
	if err != nil {
		st.Detail = s.hide(cli.OneLine(err.Error()))
	}
	s.report.Steps = append(s.report.Steps, st)
	s.each(st)
	return err
}

// hide shortens the client ID wherever it is in text.
func (s *smoker) hide(text string) string { return hider(s.clientID)(text) }

// hider returns a function that shortens the client ID wherever it is in a text. On
// older servers the client ID alone gets the token, and people share the output of
// smoke and whoami.
func hider(clientID string) func(text string) string {
	if len(clientID) <= 8 {
		return func(text string) string { return text }
	}
	whole := regexp.MustCompile("(?i)" + regexp.QuoteMeta(clientID))
	return func(text string) string { return whole.ReplaceAllLiteralString(text, clientID[:8]+"…") }
}

// token is the step that gets a token. It reports what is delegated.
func (s *smoker) token(src *authsec.Source) error {
	return s.step("token", func() (string, error) {
		d, err := src.Delegation(s.ctx)
		if err != nil {
			return "", err
		}
		s.report.SPIFFEID, s.report.Permissions = s.hide(d.SPIFFEID), d.Permissions
		expiry := src.Stats().Expiry
		s.report.ExpiresAt = &expiry
		permissions := strings.Join(d.Permissions, " ")
		if permissions == "" {
			permissions = "(none)"
		}
		return fmt.Sprintf("%s; permissions %s; expires %s, in %v", d.SPIFFEID, permissions,
			expiry.UTC().Format(time.RFC3339), time.Until(expiry).Round(time.Second)), nil
	})
}

// call is a step that calls the API. It expects this many fetches.
func (s *smoker) call(name string, src *authsec.Source, client *http.Client, url string, fetches uint64) error {
	return s.step(name, func() (string, error) {
		before := src.Stats().Fetches
		s.sent = false
		req, err := http.NewRequestWithContext(s.ctx, http.MethodGet, url, nil)
		if err != nil {
			return "", cli.Advise(err, "set DOWNSTREAM_URL to a URL of the protected API")
		}
		resp, err := client.Do(req)
		if err != nil {
			return "", cli.Advise(plain(err), advice(err))
		}
		defer resp.Body.Close()
		io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
		made := src.Stats().Fetches - before
		detail := fmt.Sprintf("GET %s://%s%s: %s; fetches: %d", req.URL.Scheme, req.URL.Host, req.URL.Path, answers.Status(resp.StatusCode), made)
		switch {
		case !s.sent:
			return "", cli.Advise(errors.New(detail+"; the token was not sent"), "list the host of DOWNSTREAM_URL in AUTHSEC_HOSTS")
		case resp.StatusCode == http.StatusUnauthorized:
			return "", cli.Advise(errors.New(detail), "the API rejected the token: check that it trusts this AuthSec server")
		case resp.StatusCode == http.StatusForbidden:
			return "", cli.Advise(errors.New(detail), "the API accepts the token, but does not permit the action: ask an admin to delegate the permission")
		case resp.StatusCode >= 400:
			return "", cli.Advise(errors.New(detail), "the API has no good answer for this URL: check DOWNSTREAM_URL")
		case made != fetches:
			return "", cli.Advise(fmt.Errorf("%s, want %d", detail, fetches), "the cached token was not used: it may have expired or been renewed in between; run the smoke test again")
		}
		return detail, nil
	})
}

// environment runs against the server in the environment.
func (s *smoker) environment() error {
	s.clientID = wire.CanonicalID(strings.TrimSpace(os.Getenv("AUTHSEC_AGENT_CLIENT_ID")))
	var src *authsec.Source
	var cfg authsec.Config
	downstream := strings.TrimSpace(os.Getenv("DOWNSTREAM_URL"))
	err := s.step("configuration", func() (string, error) {
		var err error
		if cfg, err = authsec.ConfigFromEnv(); err == nil {
			src, err = authsec.NewSource(cfg)
		}
		if err != nil {
			return "", cli.Advise(err, "correct the environment as named above")
		}
		s.report.Server = cfg.BaseURL
		return fmt.Sprintf("agent %s at %s", s.clientID, cfg.BaseURL), nil
	})
	if err != nil {
		return err
	}
	if err := s.token(src); err != nil {
		return err
	}
	err = s.step("cache", func() (string, error) {
		before := src.Stats().Fetches
		if _, err := src.TokenContext(s.ctx); err != nil {
			return "", err
		}
		if made := src.Stats().Fetches - before; made != 0 {
			return "", cli.Advise(fmt.Errorf("the token again; fetches: %d, want 0", made), "the cached token was not used: it may be about to expire; run the smoke test again")
		}
		return "the token again; fetches: 0", nil
	})
	if err != nil || downstream == "" {
		return err
	}
	client := &http.Client{Transport: &authsec.Transport{Source: src, Base: s, Hosts: cfg.Hosts}}
	if err := s.call("call", src, client, downstream, 0); err != nil {
		return err
	}
	return s.call("call again", src, client, downstream, 0)
}

// embedded runs against its own server and protected API.
func (s *smoker) embedded() error {
	const undelegated = "0b5e9c34-6f0e-4b7c-8c1d-2f3a4b5c6d7e"
	s.clientID = authsectest.ClientID
	srv := authsectest.NewServer()
	defer srv.Close()
	api := httptest.NewServer(srv.API(nil, "billing:read"))
	defer api.Close()
	url := api.URL + "/customers/42"
	granted := authsectest.Delegation{Permissions: []string{"billing:read", "users:read"}}
	srv.Delegate(s.clientID, granted)
	srv.Register(undelegated)

	cfg := srv.Config(s.clientID, api.URL)
	src, err := authsec.NewSource(cfg)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &authsec.Transport{Source: src, Base: s, Hosts: cfg.Hosts}}
	if err := s.token(src); err != nil {
		return err
	}
	if err := s.call("call", src, client, url, 0); err != nil {
		return err
	}
	if err := s.call("call again", src, client, url, 0); err != nil {
		return err
	}
	srv.Revoke(s.clientID)
	srv.Delegate(s.clientID, granted)
	if err := s.call("re-delegated", src, client, url, 1); err != nil {
		return err
	}
	return s.step("no delegation", func() (string, error) {
		other, err := authsec.NewSource(srv.Config(undelegated))
		if err != nil {
			return "", err
		}
		if _, err = other.TokenContext(s.ctx); !errors.Is(err, authsec.ErrNotDelegated) {
			return "", fmt.Errorf("an agent without a delegation got error %v, want ErrNotDelegated", err)
		}
		return "an agent without a delegation fails, as it should: " + err.Error(), nil
	})
}
