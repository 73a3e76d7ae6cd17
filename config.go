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
	maxTimeout          = 365 * 24 * time.Hour // as good as none, and can be added up
)

// Config says which agent gets its delegation token from which server. BaseURL
// and ClientID are required, and Hosts for [NewClient] and [NewTransport]. The
// zero value of every other field works. It is read once, at construction; later
// changes to it have no effect.
type Config struct {
	// BaseURL is the AuthSec server's root, such as "https://authsec.example.com",
	// perhaps with a path prefix. A URL that ends in /authsec, /authsec/uflow or,
	// as AuthSec's own SDKs are configured, /uflow means the same server. It has
	// no user name, query or fragment. Its scheme is https, or http for this
	// machine if no proxy is in between.
	BaseURL string

	// ClientID is the agent's client ID, a UUID. It is sent in lower case with
	// hyphens, however it is written here. Older servers give the token to anybody
	// who knows it: keep it secret.
	ClientID string

	// Credential authenticates the caller to the endpoint, on servers that want
	// it. It is called before every request for a token, with the fetch's context
	// if it has a method TokenContext, as a [*Source] does. nil: none.
	Credential oauth2.TokenSource

	// HTTPClient sends the requests for a token. Its Transport is used, with its
	// proxy, TLS and so on, and its Timeout for each attempt if that is under
	// 10 s. Redirects are not followed and no cookies are sent. nil: a client of
	// its own, with the proxy of the environment.
	HTTPClient *http.Client

	// Keyfunc verifies each token's signature before the token is used. Only
	// asymmetric algorithms are accepted, the token must have an exp, and its nbf
	// may be up to 5 s ahead. nil: signatures are not verified.
	Keyfunc jwt.Keyfunc

	// Audience must be in the token's aud. "": not checked.
	Audience string

	// RenewBefore is how long before a token's expiry its renewal begins. Capped
	// at the token's lifetime. 0: a fifth of the lifetime, at most 5 minutes.
	RenewBefore time.Duration

	// FetchTimeout bounds one whole fetch: the Credential, all attempts, and the
	// waits between them. One attempt takes at most 10 s of it. 0: 30 s.
	FetchTimeout time.Duration

	// Cache shares the server's answers with the agent's other processes, so that
	// only one process contacts AuthSec. nil: each process does.
	Cache *CacheConfig

	// Retry is for requests to the endpoint. A 429 is not retried within a fetch.
	Retry RetryPolicy

	// AllowHTTP permits a BaseURL with http:// and a host that is not this
	// machine. Whoever can read the traffic then has the token.
	AllowHTTP bool

	// Hosts is where the token may go. See [Transport.Hosts].
	Hosts []string

	// Logger gets a record of each event in a token's life, at Debug to Error.
	// Records are made without a lock, and by the goroutine that the event
	// happened in: a handler that blocks holds that one up. nil: silent.
	Logger *slog.Logger
}

// validate returns cfg with its strings trimmed and its defaults filled in, and
// the base URL. Its error joins all faults.
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

// endpointTransport sends the requests to the endpoint.
func (cfg Config) endpointTransport() http.RoundTripper {
	switch {
	case cfg.HTTPClient == nil:
		return defaultEndpointTransport()
	case cfg.HTTPClient.Transport == nil:
		return http.DefaultTransport
	}
	return cfg.HTTPClient.Transport
}

// checkClientID says what is wrong with a trimmed client ID. The server says
// whether a well-formed one is known.
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
