// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/internal/hosts"
)

const (
	defaultLeeway = 5 * time.Second // as the client side has for nbf
	maxLeeway     = 5 * time.Minute // "no more than a few minutes" (RFC 7519, section 4.1.4)
)

// asymmetric are the algorithms whose verification key can't sign (RFC 7518,
// section 3.1; RFC 8037).
var asymmetric = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// Config says whose tokens a service accepts. BaseURL, Tenants and Audience are
// required; the zero value of every other field works. It is read once, by New.
type Config struct {
	// BaseURL is the AuthSec server's root, such as
	// "https://authsec.example.com", with or without a path prefix. Its scheme is
	// https, or http for this machine itself.
	BaseURL string

	// Tenants are the IDs of the tenants whose agents may call. Tokens of others
	// are refused, and their keys are never asked for.
	Tenants []string

	// Audience is this service, as the tokens' aud names it. It keeps a token
	// that was meant for another service from being used here.
	Audience string

	// Algorithms that a token may be signed with, of RS256, RS384, RS512, PS256,
	// PS384, PS512, ES256, ES384, ES512 and EdDSA. None: RS256, AuthSec's own.
	Algorithms []string

	// Leeway is by how much this machine's clock and the server's may differ, in
	// each direction; at most 5 minutes. 0: 5 s.
	Leeway time.Duration

	// HTTPClient fetches the keys. Its Transport is used, and its Timeout if it
	// is under 10 s; redirects are not followed, and its cookies not sent.
	// nil: one with http.DefaultTransport.
	HTTPClient *http.Client

	// AllowHTTP permits a BaseURL with http:// and a host that is not this
	// machine. Whoever can change the traffic then can make tokens.
	AllowHTTP bool

	// Logger is told why requests are refused (Info), that keys can't be had
	// (Warn), and that they were fetched (Debug). nil: silent.
	Logger *slog.Logger
}

// validate returns cfg with its strings trimmed and its defaults filled in, the
// base URL parsed, and all faults but those of Audience.
func (cfg Config) validate() (Config, *url.URL, error) {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("verify: Config."+format, args...))
	}
	base, err := parseBaseURL(strings.TrimSpace(cfg.BaseURL), cfg.AllowHTTP)
	if err != nil {
		fault("BaseURL %w", err)
	}
	if len(cfg.Tenants) == 0 {
		fault("Tenants is empty: list the IDs of the tenants whose agents may call")
	}
	for i, id := range cfg.Tenants {
		if !isTenantID(id) {
			fault("Tenants: %q is no tenant ID: it is made of letters, digits, hyphens, dots and underscores", id)
		} else if slices.Contains(cfg.Tenants[:i], id) {
			fault("Tenants: %q is listed twice", id)
		}
	}
	for _, alg := range cfg.Algorithms {
		if !slices.Contains(asymmetric, alg) {
			fault("Algorithms: %q is none of %s: only these have a key that verifies and can't sign", alg, strings.Join(asymmetric, ", "))
		}
	}
	if cfg.Leeway < 0 || cfg.Leeway > maxLeeway {
		fault("Leeway: %v is not from 0 (which means %v) to %v", cfg.Leeway, defaultLeeway, maxLeeway)
	}
	if len(cfg.Algorithms) == 0 {
		cfg.Algorithms = []string{"RS256"}
	}
	if cfg.Leeway == 0 {
		cfg.Leeway = defaultLeeway
	}
	return cfg, base, errors.Join(faults...)
}

// checkAudience is apart from validate: a client checks the audience itself.
func (cfg Config) checkAudience() error {
	if strings.TrimSpace(cfg.Audience) == "" {
		return errors.New("verify: Config.Audience is empty: set this service's name in the tokens' aud, so that tokens for other services don't pass")
	}
	return nil
}

// isTenantID reports whether s can be all there is after an iss's spiffe://.
func isTenantID(s string) bool {
	other := strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._", r)
	})
	return s != "" && other < 0
}

// parseBaseURL parses Config.BaseURL, trimmed. Its errors go after the field's
// name, and don't show what may hold a password.
func parseBaseURL(s string, allowHTTP bool) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case s == "":
		return nil, errors.New("is empty: write one like https://authsec.example.com")
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		return nil, errors.New("is not a URL like https://authsec.example.com")
	case strings.ContainsAny(s, "@?#"):
		return nil, errors.New("has a user name, password, query or fragment, none of which belongs there")
	case u.Scheme == "http" && !allowHTTP && !hosts.Loopback(u.Hostname()):
		return nil, fmt.Errorf("would fetch keys over plain HTTP from %s: use https (or AllowHTTP, if you must): %w", u.Host, authsec.ErrInsecureURL)
	}
	return u, nil
}

// String tells the config without what may be secret.
func (cfg Config) String() string {
	base := "(malformed)"
	if u, err := parseBaseURL(strings.TrimSpace(cfg.BaseURL), true); err == nil {
		base = u.String()
	}
	return fmt.Sprintf("verify.Config{BaseURL:%s Tenants:%q Audience:%q Algorithms:%q Leeway:%v}",
		base, cfg.Tenants, cfg.Audience, cfg.Algorithms, cfg.Leeway)
}

// Format prints the config for every verb, without what may be secret.
func (cfg Config) Format(f fmt.State, _ rune) { fmt.Fprint(f, cfg.String()) }

// LogValue gives slog what String tells.
func (cfg Config) LogValue() slog.Value { return slog.StringValue(cfg.String()) }
