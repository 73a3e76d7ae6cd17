// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/internal/hosts"
	"github.com/authsec-go/authsec/internal/wire"
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
	// "https://authsec.example.com", perhaps with a path prefix. A URL that ends in
	// /authsec, /authsec/uflow or /uflow means the same server. Its scheme is https,
	// or http for localhost and loopback addresses that HTTPClient reaches without a
	// proxy.
	BaseURL string

	// Tenants are the IDs of the tenants whose agents may call; on newer servers,
	// of the workspaces. Tokens of other tenants are invalid, and their keys are
	// never fetched. Upper and lower case are the same in a UUID.
	Tenants []string

	// Audience is this service's name in the tokens' aud, without white space
	// around it. A token for another service is invalid here.
	Audience string

	// Algorithms that a token may be signed with, of RS256, RS384, RS512, PS256,
	// PS384, PS512, ES256, ES384, ES512 and EdDSA. None: RS256, AuthSec's own.
	Algorithms []string

	// Leeway is how much this machine's clock and the server's may differ, in each
	// direction. At most 5 minutes. 0: 5 s.
	Leeway time.Duration

	// MaxLifetime is the longest time from a token's iat to its exp. A token that
	// lives longer, or has no iat, is invalid. Set it to your longest delegation,
	// with a minute to spare: the server has a public endpoint that gives whoever
	// holds a token another one, with the same rights, that lives for 24 hours.
	// 0: no limit.
	MaxLifetime time.Duration

	// RevocationCheck is how often the server is asked whether a token in use was
	// revoked, ±50 %. At least 1 s. The first request with a token waits for the
	// answer. Later checks run in the background, so a revoked token is rejected
	// after three of these intervals at the latest. While the server can't be asked,
	// a token that was good stays good for three intervals, and a token that was never
	// checked gets ErrUnavailable. 0: never; a revoked token is good until its exp.
	//
	// Older servers call revoked tokens valid, so with them this detects nothing.
	// Every token in use costs one request in each interval. The server limits the
	// requests of one IP address: about 100 a minute in all, fewer for this endpoint.
	RevocationCheck time.Duration

	// CacheSize is how many verified tokens are kept, so that the same token again costs no
	// signature check. The least recently used is dropped first. Times, MaxLifetime and
	// revocation are checked at every request. When a tenant's keys change, its tokens
	// are verified again. A token of 1,000 bytes takes 3 KiB. 0: 4,096 tokens.
	// Negative: none.
	CacheSize int

	// ResourceMetadata is the URL of this service's metadata (RFC 9728), which
	// MetadataHandler can serve. Each WWW-Authenticate has this URL: MCP clients look
	// for it there. Its scheme is https, or http for a loopback host. "": none.
	ResourceMetadata string

	// HTTPClient asks the server. Its Transport is used, and its Timeout if that is
	// under 10 s. Redirects are not followed and no cookies are sent. nil: a client
	// with a copy of http.DefaultTransport that closes HTTP/2 connections that have not
	// answered for 9 s.
	HTTPClient *http.Client

	// AllowHTTP permits any BaseURL with http://. Whoever can change the traffic can
	// then make tokens. With RevocationCheck, whoever can read it has the tokens.
	AllowHTTP bool

	// Logger gets a record for each request that is not passed on (Info), when keys
	// can't be fetched or a revocation check fails (Warn), and when keys were fetched
	// (Debug). It is called in the goroutine of the event, with no lock held. nil:
	// silent.
	Logger *slog.Logger
}

// validate returns cfg with its strings trimmed and its defaults filled in, the
// base URL parsed, and all faults but those of Audience. It changes no list of cfg.
func (cfg Config) validate() (Config, *url.URL, error) {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("verify: Config."+format, args...))
	}
	base, err := hosts.ParseBase(cfg.BaseURL)
	if err != nil {
		fault("BaseURL %w", err)
	} else if base.Scheme == "http" && !cfg.AllowHTTP && !hosts.Local(base, cmp.Or(cfg.HTTPClient, new(http.Client)).Transport) {
		fault("BaseURL would fetch keys over plain HTTP from %s: use https (or AllowHTTP, if you must): %w", base.Host, authsec.ErrInsecureURL)
	}
	if len(cfg.Tenants) == 0 {
		fault("Tenants is empty: list the IDs of the tenants whose agents may call")
	}
	cfg.Tenants = slices.Clone(cfg.Tenants)
	for i, id := range cfg.Tenants {
		cfg.Tenants[i] = wire.CanonicalID(strings.TrimSpace(id))
		if !isTenantID(cfg.Tenants[i]) {
			fault("Tenants: %q is no tenant ID: it is made of letters, digits, hyphens, dots and underscores", id)
		} else if slices.Contains(cfg.Tenants[:i], cfg.Tenants[i]) {
			fault("Tenants: %q is listed twice", id)
		}
	}
	cfg.Algorithms = slices.Clone(cfg.Algorithms)
	for i, alg := range cfg.Algorithms {
		if cfg.Algorithms[i] = strings.TrimSpace(alg); !slices.Contains(asymmetric, cfg.Algorithms[i]) {
			fault("Algorithms: %q is none of %s: only these have a key that verifies and can't sign", alg, strings.Join(asymmetric, ", "))
		}
	}
	if cfg.Leeway < 0 || cfg.Leeway > maxLeeway {
		fault("Leeway: %v is not from 0 (which means %v) to %v", cfg.Leeway, defaultLeeway, maxLeeway)
	}
	if cfg.MaxLifetime < 0 {
		fault("MaxLifetime: %v is negative: 0 means no limit", cfg.MaxLifetime)
	}
	if cfg.RevocationCheck != 0 && cfg.RevocationCheck < minInterval {
		fault("RevocationCheck: %v is less than %v: 0 means never", cfg.RevocationCheck, minInterval)
	}
	if cfg.ResourceMetadata = strings.TrimSpace(cfg.ResourceMetadata); cfg.ResourceMetadata != "" {
		if err := checkURL(cfg.ResourceMetadata); err != nil {
			fault("ResourceMetadata %w", err)
		}
	}
	cfg.Audience = strings.TrimSpace(cfg.Audience)
	if len(cfg.Algorithms) == 0 {
		cfg.Algorithms = []string{"RS256"}
	}
	cfg.Leeway = cmp.Or(cfg.Leeway, defaultLeeway)
	cfg.CacheSize = cmp.Or(cfg.CacheSize, defaultCacheSize)
	return cfg, base, errors.Join(faults...)
}

// checkAudience is separate from validate: a client checks the audience itself.
func (cfg Config) checkAudience() error {
	if cfg.Audience == "" {
		return errors.New("verify: Config.Audience is empty: set this service's name in the tokens' aud, so that tokens for other services don't pass")
	}
	if strings.ContainsFunc(cfg.Audience, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("verify: Config.Audience: %q has a character that can't be seen", cfg.Audience)
	}
	return nil
}

// isTenantID reports whether s can be the text after spiffe:// in an iss.
func isTenantID(s string) bool {
	other := strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._", r)
	})
	return s != "" && other < 0
}

// String returns the config without secrets.
func (cfg Config) String() string {
	base := "(malformed)"
	if u, err := hosts.ParseBase(cfg.BaseURL); err == nil {
		base = u.String()
	}
	return fmt.Sprintf("verify.Config{BaseURL:%s Tenants:%q Audience:%q Algorithms:%q Leeway:%v MaxLifetime:%v RevocationCheck:%v CacheSize:%d}",
		base, cfg.Tenants, cfg.Audience, cfg.Algorithms, cfg.Leeway, cfg.MaxLifetime, cfg.RevocationCheck, cfg.CacheSize)
}

// Format prints String for every verb.
func (cfg Config) Format(f fmt.State, _ rune) { fmt.Fprint(f, cfg.String()) }

// LogValue returns String for slog.
func (cfg Config) LogValue() slog.Value { return slog.StringValue(cfg.String()) }
