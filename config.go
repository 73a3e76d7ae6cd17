// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/authsec-go/authsec/internal/cache"
	"github.com/authsec-go/authsec/internal/hosts"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"
)

// maxTimeout is as good as none, and can be added up.
const maxTimeout = 365 * 24 * time.Hour

// The environment that [ConfigFromEnv] reads.
const (
	envBaseURL      = "AUTHSEC_BASE_URL"
	envClientID     = "AUTHSEC_AGENT_CLIENT_ID"
	envDownstream   = "DOWNSTREAM_URL"
	envHosts        = "AUTHSEC_HOSTS"
	envAPIToken     = "AUTHSEC_API_TOKEN"
	envAPITokenFile = "AUTHSEC_API_TOKEN_FILE"
)

// ErrCacheMiss is what [Cache.Get] returns where there is no entry.
var ErrCacheMiss = cache.ErrMiss

// ErrLeaseHeld is what [Leaser.Lease] returns while another holds the lease.
var ErrLeaseHeld = cache.ErrLeaseHeld

// Cache is a store that an agent's processes share, such as a directory
// (package dircache) or Redis (package rediscache). A Source asks its memory
// first, then the cache, then the server; it trusts what the cache returns as
// little as what the network does. What is stored is the server's last answer,
// good or bad, sealed by [Config.CacheKeys].
//
// Keys are 64 hexadecimal digits; they tell nothing of agent or server. An entry
// has 1 to 4 kB as a rule, and 4 MiB at most. An implementation must be safe for
// concurrent use, end with its context (after [Config.CacheTimeout]), and let no
// reader see half an entry. It may lose entries. Errors are matched with
// [errors.Is]; any other than the two named here is logged, and the server asked.
type Cache interface {
	// Get returns the entry of key, or ErrCacheMiss.
	Get(ctx context.Context, key string) ([]byte, error)

	// Put stores data as the entry of key, in place of what is there, for as long
	// as ttl, which is over 0. The cache may not change or keep data's array.
	Put(ctx context.Context, key string, data []byte, ttl time.Duration) error

	// Delete removes the entry of key. That there is none is no error.
	Delete(ctx context.Context, key string) error
}

// Leaser is a Cache that can also name one process of many. With it one asks
// the server, and the others wait for what it is told, at most half of
// [Config.FetchTimeout]. With a Cache that is no Leaser, all that find no entry ask.
type Leaser interface {
	Cache

	// Lease takes the lease of key, which ends after ttl (over 0, a sixth of
	// FetchTimeout) by itself, or fails with ErrLeaseHeld at once. Leases are apart from entries. release ends this
	// lease, and no other that has been taken since; it is called once.
	Lease(ctx context.Context, key string, ttl time.Duration) (release func(context.Context) error, err error)
}

// Config says which agent asks which server for its delegation token. BaseURL
// and ClientID are required, and Hosts for [NewClient]; the zero value of every
// other field works. It is read once, by NewSource or NewClient; later changes
// to it have no effect.
type Config struct {
	// BaseURL is the AuthSec server's root, such as
	// "https://authsec.example.com". It may have a path prefix and end in
	// slashes; the endpoint's path is appended. It may have no userinfo, query
	// or fragment, and its scheme is https, or http for this machine itself.
	BaseURL string

	// ClientID is the agent's client ID (a UUID on today's servers). On older
	// servers it is all that is needed to get the token: keep it secret.
	ClientID string

	// Credential authenticates the caller to the endpoint itself, on servers
	// that want it. It is asked for each fetch, and is given the fetch's context
	// if it has a method TokenContext, as a [*Source] does. nil: none.
	Credential oauth2.TokenSource

	// HTTPClient talks to the endpoint. Its Transport (with its proxy, TLS and
	// so on) is used, and its Timeout for each attempt if it is under 10 s;
	// redirects are not followed, and its cookies not sent. Its Transport may
	// not lead back to the Source that it serves. nil: a client with time-outs,
	// and with the proxy of the environment.
	HTTPClient *http.Client

	// Keyfunc verifies each token's signature before it is used. Only
	// asymmetric algorithms pass, and the token must have an exp; its nbf counts
	// with a leeway of 5 s. nil: signatures are not verified.
	Keyfunc jwt.Keyfunc

	// Audience must be in the token's aud. "": not checked.
	Audience string

	// RenewBefore is how long before a token's expiry its renewal begins. Where
	// that exceeds the token's life, it is all of it. 0: a fifth of the life,
	// at most 5 minutes.
	RenewBefore time.Duration

	// FetchTimeout bounds one whole fetch: all attempts, the waits between
	// them, and the Credential. One attempt takes at most 10 s of it. What a
	// Cache costs comes before. 0: 30 s.
	FetchTimeout time.Duration

	// FailFast says what becomes of calls that have no token while the server
	// allows no more requests (its 429). false: those whose context lasts longer
	// wait until it may be asked again ([Error.RetryAfter]; a minute or two as a
	// rule), and again if it refuses anew; so do those whose context has no end.
	// true: all fail at once with ErrRateLimited, as those with a shorter context
	// do: for servers whose requests have no deadline and would pile up, and for a
	// Source that another one has as its Credential.
	FailFast bool

	// Cache shares what the server says with the agent's other processes, so that
	// any number of them ask it as one would. See [Cache]. nil: each process asks
	// for itself.
	Cache Cache

	// CacheKeys seal what goes into Cache (AES-256-GCM, bound to BaseURL and
	// ClientID): 32 random bytes each, the same in all processes. Whoever has one,
	// and can read the Cache, has the token. The first seals, and all open: to
	// rotate, add the new one at the end everywhere, then move it to the front
	// everywhere, and drop the old one once the token has been renewed. Required
	// with a Cache, unless StoreTokensUnsealed is set.
	CacheKeys [][]byte

	// StoreTokensUnsealed has the token go into Cache as it is, where all who can
	// read the Cache have it, and all who can write to it have a say in the token
	// that is sent. CacheKeys must be empty then.
	StoreTokensUnsealed bool

	// CacheTimeout bounds each single use of Cache. A cache that does not answer
	// costs a fetch this once, and is left alone for a while then: about 1 s at
	// first, about a minute in the end. One that is just within it costs three
	// times this, and a [Leaser]'s lease that others hold up to half of
	// FetchTimeout. No call waits for the storing. 0: 1 s.
	CacheTimeout time.Duration

	// Retry is for requests to the endpoint. A 429 is not repeated within a
	// fetch, whatever it says.
	Retry RetryPolicy

	// AllowHTTP permits a BaseURL with http:// and a host that is not this
	// machine. Whoever can read the traffic then has the token.
	AllowHTTP bool

	// Hosts is where the token may go, for NewClient. See [Transport.Hosts].
	Hosts []string

	// Logger gets a record of each event in a token's life. nil: silent.
	Logger *slog.Logger
}

// ConfigFromEnv reads the environment:
//
//   - AUTHSEC_BASE_URL (required) gives BaseURL.
//   - AUTHSEC_AGENT_CLIENT_ID (required) gives ClientID.
//   - AUTHSEC_HOSTS, a comma-separated list, gives Hosts. Where it is not set,
//     DOWNSTREAM_URL's host and port do.
//   - AUTHSEC_API_TOKEN gives Credential, or AUTHSEC_API_TOKEN_FILE the name of
//     a file that holds it. The file is read for each fetch, so a projected
//     Kubernetes token may rotate.
//
// White space around a value is ignored. The error names all that is missing
// or malformed.
func ConfigFromEnv() (Config, error) {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf("authsec: "+format, args...)) }
	get := func(name string) string { return strings.TrimSpace(os.Getenv(name)) }

	cfg := Config{BaseURL: get(envBaseURL), ClientID: get(envClientID)}
	if cfg.BaseURL == "" {
		fault("%s is not set: it is the AuthSec server's root, such as https://authsec.example.com", envBaseURL)
	} else if _, err := parseBaseURL(cfg.BaseURL, true); err != nil {
		fault("%s %w", envBaseURL, err)
	}
	if cfg.ClientID == "" {
		fault("%s is not set: it is on the agent's page in the AuthSec console", envClientID)
	} else if err := checkClientID(cfg.ClientID); err != nil {
		fault("%s %w", envClientID, err)
	}

	downstream := get(envDownstream)
	if list := get(envHosts); list != "" {
		for s := range strings.SplitSeq(list, ",") {
			if s = strings.TrimSpace(s); s != "" {
				cfg.Hosts = append(cfg.Hosts, s)
			}
		}
		if _, err := hosts.Parse(cfg.Hosts); err != nil {
			fault("%s: %w", envHosts, err)
		}
	} else if downstream != "" {
		if u, err := parseURL(downstream); err != nil {
			fault("%s %w", envDownstream, err)
		} else if _, err := hosts.Parse([]string{u.Host}); err != nil {
			fault("%s: its host %w", envDownstream, err)
		} else if strings.Contains(u.Host, "*") {
			fault("%s: its host is a pattern: write that into %s", envDownstream, envHosts)
		} else {
			cfg.Hosts = []string{u.Host}
		}
	}

	token, file := get(envAPIToken), get(envAPITokenFile)
	switch {
	case token != "" && file != "":
		fault("%s and %s are both set: set one of them", envAPIToken, envAPITokenFile)
	case token != "":
		if !isHeaderSafe(token) {
			fault("%s has white space or a control character in it", envAPIToken)
		}
		// A func, because there is no way of formatting that prints what it holds.
		cfg.Credential = tokenFunc(func() (*oauth2.Token, error) { return &oauth2.Token{AccessToken: token}, nil })
	case file != "":
		cfg.Credential = tokenFile(file)
		if _, err := cfg.Credential.Token(); err != nil {
			fault("%s: %w", envAPITokenFile, err)
		}
	}
	return cfg, errors.Join(faults...)
}

// tokenFile is the name of a file that holds a bearer token.
type tokenFile string

// Token reads the file.
func (f tokenFile) Token() (*oauth2.Token, error) {
	b, err := os.ReadFile(string(f))
	if err != nil {
		return nil, err
	}
	token := strings.TrimSpace(string(b))
	if token == "" {
		return nil, fmt.Errorf("%s is empty", string(f))
	}
	if !isHeaderSafe(token) {
		return nil, fmt.Errorf("%s holds something else than one token", string(f))
	}
	return &oauth2.Token{AccessToken: token}, nil
}

// NewClient returns a client that sends the agent's delegation token to
// cfg.Hosts: a [*Transport] over a new [Source], with the default
// [RetryPolicy]. It makes no request yet. Its error joins all faults of cfg.
func NewClient(cfg Config) (*http.Client, error) {
	var hostsErr error
	if len(cfg.Hosts) == 0 {
		hostsErr = fmt.Errorf("authsec: Config.Hosts is empty (in the environment: %s, or %s): %s", envHosts, envDownstream, hosts.Syntax)
	}
	src, err := NewSource(cfg)
	if err := errors.Join(err, hostsErr); err != nil {
		return nil, err
	}
	return &http.Client{Transport: &Transport{
		Source: src,
		Hosts:  append([]string(nil), cfg.Hosts...),
		Logger: cfg.Logger,
	}}, nil
}

// validate returns cfg with its strings trimmed and its defaults filled in, the
// base URL parsed, and all faults.
func (cfg Config) validate() (Config, *url.URL, error) {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("authsec: Config."+format, args...))
	}
	cfg.BaseURL = strings.TrimSpace(cfg.BaseURL)
	cfg.ClientID = strings.TrimSpace(cfg.ClientID)

	base, err := parseBaseURL(cfg.BaseURL, cfg.AllowHTTP)
	if err != nil {
		fault("BaseURL %w", err)
	}
	if err := checkClientID(cfg.ClientID); err != nil {
		fault("ClientID %w", err)
	}
	if cfg.RenewBefore < 0 {
		fault("RenewBefore: %v is negative", cfg.RenewBefore)
	}
	if cfg.FetchTimeout < 0 {
		fault("FetchTimeout: %v is negative", cfg.FetchTimeout)
	}
	if err := cfg.Retry.validate("authsec: Config.Retry"); err != nil {
		faults = append(faults, err)
	}
	cfg.validateCache(fault)
	if len(cfg.Hosts) > 0 {
		if _, err := hosts.Parse(cfg.Hosts); err != nil {
			fault("Hosts: %w", err)
		}
	}
	if cfg.CacheTimeout == 0 {
		cfg.CacheTimeout = time.Second
	}
	if cfg.FetchTimeout == 0 {
		cfg.FetchTimeout = 30 * time.Second
	}
	cfg.FetchTimeout, cfg.CacheTimeout = min(cfg.FetchTimeout, maxTimeout), min(cfg.CacheTimeout, maxTimeout)
	cfg.Retry = cfg.Retry.withDefaults()
	return cfg, base, errors.Join(faults...)
}

// validateCache reports the faults of what concerns the cache.
func (cfg Config) validateCache(fault func(format string, args ...any)) {
	if cfg.CacheTimeout < 0 {
		fault("CacheTimeout: %v is negative", cfg.CacheTimeout)
	}
	for i, key := range cfg.CacheKeys {
		if len(key) != cache.KeySize {
			fault("CacheKeys: key %d has %d bytes, not %d", i, len(key), cache.KeySize)
		}
	}
	switch {
	case cfg.Cache == nil && len(cfg.CacheKeys) > 0:
		fault("CacheKeys are set, but Cache is not")
	case cfg.Cache == nil && cfg.StoreTokensUnsealed:
		fault("StoreTokensUnsealed is set, but Cache is not")
	case cfg.Cache != nil && len(cfg.CacheKeys) == 0 && !cfg.StoreTokensUnsealed:
		fault("CacheKeys is empty: what goes into Cache is a secret: give a key of %d random bytes", cache.KeySize)
	case len(cfg.CacheKeys) > 0 && cfg.StoreTokensUnsealed:
		fault("CacheKeys and StoreTokensUnsealed are both set: set one of them")
	}
}

// parseURL parses an absolute http or https URL without userinfo. Its errors
// go after a name, and don't show what may hold a password.
func parseURL(s string) (*url.URL, error) {
	shown := ""
	if !strings.ContainsAny(s, "@?#") {
		shown = " " + strconv.Quote(cut(s, 100))
	}
	u, err := url.Parse(s)
	if err != nil {
		reason := ""
		if e := (*url.Error)(nil); errors.As(err, &e) && shown != "" {
			reason = " (" + e.Err.Error() + ")"
		}
		return nil, fmt.Errorf("is not a URL%s: write one like https://authsec.example.com%s", shown, reason)
	}
	port, portErr := uint64(1), error(nil)
	if p := u.Port(); p != "" {
		port, portErr = strconv.ParseUint(p, 10, 16)
	}
	switch {
	case s == "":
		return nil, errors.New("is empty: write one like https://authsec.example.com")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("has no https:// before its host%s", shown)
	case u.User != nil:
		return nil, errors.New("has a user name or password in it, which does not belong there")
	case u.Hostname() == "" || u.Opaque != "":
		return nil, fmt.Errorf("has no host%s", shown)
	case portErr != nil || port == 0:
		return nil, fmt.Errorf("has no valid port%s", shown)
	}
	return u, nil
}

// parseBaseURL parses Config.BaseURL, trimmed.
func parseBaseURL(s string, allowHTTP bool) (*url.URL, error) {
	u, err := parseURL(s)
	if err != nil {
		return nil, err
	}
	switch {
	case strings.Contains(u.Path, "@"): // a password with a slash in it ends there
		return nil, errors.New("has an @ after its host: a user name or password does not belong there")
	case u.RawQuery != "" || u.ForceQuery:
		return nil, errors.New("has a query, which does not belong there")
	case u.Fragment != "" || strings.Contains(s, "#"):
		return nil, errors.New("has a fragment, which does not belong there")
	case u.Scheme == "http" && !allowHTTP && !hosts.Loopback(u.Hostname()):
		return nil, fmt.Errorf("would send tokens over plain HTTP to %s: use https (or AllowHTTP, if you must): %w", u.Host, ErrInsecureURL)
	}
	return u, nil
}

// checkClientID says what keeps a trimmed ID from being sent. Whether it is
// well formed is the server's to say.
func checkClientID(id string) error {
	switch {
	case id == "":
		return errors.New("is empty: it is on the agent's page in the AuthSec console")
	case !utf8.ValidString(id):
		return errors.New("is not valid UTF-8")
	case strings.ContainsFunc(id, unicode.IsSpace):
		return errors.New("has white space inside")
	case strings.ContainsFunc(id, unicode.IsControl):
		return errors.New("has a control character in it")
	}
	return nil
}

// isHeaderSafe reports whether a token can stand in a header as it is.
func isHeaderSafe(token string) bool {
	for _, c := range []byte(token) {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return token != ""
}

// Format prints the config for every verb, without secrets.
func (cfg Config) Format(f fmt.State, _ rune) { fmt.Fprint(f, cfg.String()) }

// String tells the config without secrets.
func (cfg Config) String() string {
	base := "(malformed)"
	if u, err := parseBaseURL(strings.TrimSpace(cfg.BaseURL), true); err == nil {
		base = shorten(u.String(), cfg.ClientID)
	}
	return fmt.Sprintf("authsec.Config{BaseURL:%s ClientID:%s Credential:%t Keyfunc:%t Audience:%q RenewBefore:%v FetchTimeout:%v Cache:%t Hosts:%q}",
		base, shortID(cfg.ClientID), cfg.Credential != nil, cfg.Keyfunc != nil, cfg.Audience, cfg.RenewBefore, cfg.FetchTimeout, cfg.Cache != nil, safeHosts(cfg.Hosts))
}

// LogValue gives slog what String tells.
func (cfg Config) LogValue() slog.Value { return slog.StringValue(cfg.String()) }

// safeHosts are the patterns that are fit to be printed.
func safeHosts(list []string) []string {
	safe := make([]string, len(list))
	for i, s := range list {
		if safe[i] = s; strings.Contains(s, "@") {
			safe[i] = struckOut
		}
	}
	return safe
}
