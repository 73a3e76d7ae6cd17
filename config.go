// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/authsec-go/authsec/internal/hosts"
	"github.com/authsec-go/authsec/internal/redact"
	"github.com/authsec-go/authsec/internal/wire"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"
)

const (
	defaultFetchTimeout = 30 * time.Second
	maxTimeout          = 365 * 24 * time.Hour // longer time-outs count as this, so that sums do not overflow
)

// Config says which agent gets its delegation token from which server. BaseURL and
// ClientID are required. [NewClient] and [NewTransport] also require Hosts. The zero
// value of every other field works, and negative values are errors. White space
// around BaseURL, ClientID and Audience is ignored. A Config is read once, at
// construction; later changes have no effect.
type Config struct {
	// BaseURL is the root of the AuthSec server, such as
	// "https://authsec.example.com", with or without a path prefix. It may end in
	// /authsec, /authsec/uflow or /uflow (which AuthSec's own SDKs use): these name
	// the same server. It must have no user name, query or fragment. Its scheme is
	// https. http is accepted for this machine if no proxy is in between, and for
	// other hosts with AllowHTTP.
	BaseURL string

	// ClientID is the agent's client ID, a UUID. Requests have it in lower case with
	// hyphens, in whatever form it is written here. Anyone who knows it can get the
	// token from an older server: keep it secret.
	ClientID string

	// Credential authenticates the caller to servers that require it. It is called
	// once for each fetch; the retries of a fetch use the same credential. If it has
	// a method TokenContext, as a [*Source] has, that is called instead of Token,
	// with the fetch's context. nil: no credential.
	Credential oauth2.TokenSource

	// HTTPClient sends the requests for a token. Only its Transport and its Timeout
	// are used. A Timeout under 10 s bounds each attempt. Redirects are not followed
	// and no cookies are sent. nil: a client that all Sources share, with the
	// settings of http.DefaultTransport, such as the environment's proxy, and HTTP/2
	// pings.
	HTTPClient *http.Client

	// Keyfunc returns the key that verifies a token's signature before the token is
	// used, such as one from verify.Keyfunc. Only asymmetric algorithms are accepted,
	// the token must have an exp, and its nbf may be at most 5 s ahead of the server's
	// clock. nil: signatures are not verified.
	Keyfunc jwt.Keyfunc

	// Audience must be in the token's aud claim. "": aud is not checked.
	Audience string

	// RenewBefore is the renewal window: how long before its expiry a token may be
	// renewed. It is capped at the token's lifetime. The first attempt is due at a
	// random time in the first half of the window. Each next one follows after a tenth
	// of the window or 1 s, whichever is longer, with ±50 % jitter. 0: a fifth of the
	// lifetime, at most 5 minutes.
	RenewBefore time.Duration

	// FetchTimeout bounds one fetch from the server: the Credential, all attempts,
	// and the waits between them. One attempt takes at most 10 s of it. 0: 30 s.
	FetchTimeout time.Duration

	// Cache shares the server's answers with the agent's other processes, so that
	// only one process contacts AuthSec. nil: each process does.
	Cache *CacheConfig

	// Retry is the policy for requests to the AuthSec server. A 429 is not retried
	// within a fetch. Requests to APIs have [Transport.Retry].
	Retry RetryPolicy

	// AllowHTTP permits http:// in BaseURL for every host. Anyone who can read the
	// traffic can then take the token.
	AllowHTTP bool

	// Hosts is where the token may go. See [Transport.Hosts].
	Hosts []string

	// Logger gets a record of each event in a token's life, at levels from Debug to
	// Error. No lock is held while its handler runs. A handler that blocks delays
	// only the calls that wait for the event. nil: nothing is logged.
	Logger *slog.Logger
}

// validate returns cfg with trimmed strings and with defaults for zero fields, and
// the parsed BaseURL. Its error joins all faults.
func (cfg Config) validate() (Config, *url.URL, error) {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("authsec: Config."+format, args...))
	}
	cfg.ClientID = strings.TrimSpace(cfg.ClientID)
	cfg.Audience = strings.TrimSpace(cfg.Audience)

	base, err := hosts.ParseBase(cfg.BaseURL)
	if err != nil {
		fault("BaseURL %w", err)
	} else if base.Scheme == "http" && !cfg.AllowHTTP && !hosts.Local(base, cfg.endpointTransport()) {
		fault("BaseURL (in the environment: %s) would send tokens over plain HTTP to %s: use https (or AllowHTTP, if you must): %w", envBaseURL, base.Host, ErrInsecureURL)
	}
	if err := checkClientID(cfg.ClientID); err != nil {
		fault("ClientID %w", err)
	}
	cfg.ClientID = wire.CanonicalID(cfg.ClientID)
	if cfg.RenewBefore < 0 {
		fault("RenewBefore: %v is negative", cfg.RenewBefore)
	}
	if cfg.FetchTimeout < 0 {
		fault("FetchTimeout: %v is negative", cfg.FetchTimeout)
	}
	if err := cfg.Retry.validate("authsec: Config.Retry"); err != nil {
		faults = append(faults, err)
	}
	if len(cfg.Hosts) > 0 {
		if _, err := hosts.Parse(cfg.Hosts); err != nil {
			fault("Hosts: %w", err)
		}
	}
	if cfg.Cache != nil {
		c := cfg.Cache.withDefaults()
		if err := c.validate(); err != nil {
			faults = append(faults, err)
		}
		cfg.Cache = &c
	}
	if cfg.FetchTimeout == 0 {
		cfg.FetchTimeout = defaultFetchTimeout
	}
	cfg.FetchTimeout = min(cfg.FetchTimeout, maxTimeout)
	cfg.Retry = cfg.Retry.withDefaults()
	return cfg, base, errors.Join(faults...)
}

// endpointTransport returns the RoundTripper for requests to the endpoint.
func (cfg Config) endpointTransport() http.RoundTripper {
	switch {
	case cfg.HTTPClient == nil:
		return defaultEndpointTransport()
	case cfg.HTTPClient.Transport == nil:
		return http.DefaultTransport
	}
	return cfg.HTTPClient.Transport
}

// checkClientID returns what is wrong with a trimmed client ID. It accepts IDs that
// are not UUIDs: the server rejects those.
func checkClientID(id string) error {
	if id == "" {
		return errors.New("is empty: it is on the agent's page in the AuthSec console")
	}
	if !utf8.ValidString(id) {
		return errors.New("is not valid UTF-8")
	}
	for _, c := range id {
		if c <= ' ' || c >= 0x7f || c == '"' || c == '\'' || c == '`' {
			return fmt.Errorf("has the character %#U in it, which no client ID has: copy it again from the agent's page in the AuthSec console", c)
		}
	}
	return nil
}

// String returns the config without secrets.
func (cfg Config) String() string {
	base := "(malformed)"
	if u, err := hosts.ParseBase(cfg.BaseURL); err == nil {
		base = redact.Shorten(u.String(), cfg.ClientID)
	}
	return fmt.Sprintf("authsec.Config{BaseURL:%s ClientID:%s Credential:%t Keyfunc:%t Audience:%q RenewBefore:%v FetchTimeout:%v Cache:%t Hosts:%q}",
		base, redact.ShortID(cfg.ClientID), cfg.Credential != nil, cfg.Keyfunc != nil, cfg.Audience, cfg.RenewBefore, cfg.FetchTimeout, cfg.Cache != nil, hosts.Shown(cfg.Hosts))
}

// Format prints String for every verb.
func (cfg Config) Format(f fmt.State, _ rune) { fmt.Fprint(f, cfg.String()) }

// LogValue returns String for slog.
func (cfg Config) LogValue() slog.Value { return slog.StringValue(cfg.String()) }
