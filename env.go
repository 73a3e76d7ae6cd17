// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/authsec-go/authsec/internal/hosts"
	"github.com/authsec-go/authsec/internal/wire"
	"golang.org/x/oauth2"
)

// The environment variables that [ConfigFromEnv] reads.
const (
	envBaseURL      = "AUTHSEC_BASE_URL"
	envClientID     = "AUTHSEC_AGENT_CLIENT_ID"
	envDownstream   = "DOWNSTREAM_URL"
	envHosts        = "AUTHSEC_HOSTS"
	envAPIToken     = "AUTHSEC_API_TOKEN"
	envAPITokenFile = "AUTHSEC_API_TOKEN_FILE"
)

// ConfigFromEnv returns a Config from environment variables:
//
//   - AUTHSEC_BASE_URL (required) sets BaseURL.
//   - AUTHSEC_AGENT_CLIENT_ID (required) sets ClientID.
//   - AUTHSEC_HOSTS, a comma-separated list, sets Hosts. If it is not set,
//     DOWNSTREAM_URL sets Hosts to its host and port. An http:// in DOWNSTREAM_URL
//     does not permit plain HTTP to another machine.
//   - AUTHSEC_API_TOKEN sets the token of Credential. Instead,
//     AUTHSEC_API_TOKEN_FILE may name a regular file that holds the token. The file
//     is read at once and again for each fetch, so Kubernetes may rotate it. It is an
//     error to set both.
//
// White space around a value is ignored. The error names all variables that are
// missing or malformed.
func ConfigFromEnv() (Config, error) {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf("authsec: "+format, args...)) }
	get := func(name string) string { return strings.TrimSpace(os.Getenv(name)) }

	cfg := Config{BaseURL: get(envBaseURL), ClientID: get(envClientID)}
	if cfg.BaseURL == "" {
		fault("%s is not set: it is the AuthSec server's root, such as https://authsec.example.com", envBaseURL)
	} else if _, err := hosts.ParseBase(cfg.BaseURL); err != nil {
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
		if u, err := hosts.ParseURL(downstream, "https://api.example.com/v1"); err != nil {
			fault("%s %w (patterns of hosts go into %s)", envDownstream, err, envHosts)
		} else {
			cfg.Hosts = []string{u.Host}
		}
	}

	token, file := get(envAPIToken), get(envAPITokenFile)
	switch {
	case token != "" && file != "":
		fault("%s and %s are both set: set one of them", envAPIToken, envAPITokenFile)
	case token != "":
		if !wire.IsHeaderSafe(token) {
			fault("%s has white space or a control character in it", envAPIToken)
		}
		cfg.Credential = tokenFunc(func() (*oauth2.Token, error) { return &oauth2.Token{AccessToken: token}, nil })
	case file != "":
		cfg.Credential = tokenFile(file)
		if _, err := cfg.Credential.Token(); err != nil {
			fault("%s: %w", envAPITokenFile, err)
		}
	}
	return cfg, errors.Join(faults...)
}

// tokenFunc is a TokenSource. It is a func, so printing it shows no token.
type tokenFunc func() (*oauth2.Token, error)

func (f tokenFunc) Token() (*oauth2.Token, error) { return f() }

// tokenFile is the name of a file that holds a bearer token.
type tokenFile string

// Token reads the file. It does not open a pipe or a device, which may block and
// can't be read again.
func (f tokenFile) Token() (*oauth2.Token, error) {
	info, err := os.Stat(string(f))
	if err != nil {
		if !filepath.IsAbs(string(f)) && !strings.HasPrefix(string(f), ".") { // it may be the token itself
			return nil, errors.New("names no file that can be read: give its path")
		}
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file, so it can't be read again for each fetch", string(f))
	}
	b, err := os.ReadFile(string(f))
	if err != nil {
		return nil, err
	}
	token := strings.TrimSpace(string(b))
	if token == "" {
		return nil, fmt.Errorf("%s is empty", string(f))
	}
	if !wire.IsHeaderSafe(token) {
		return nil, fmt.Errorf("%s holds something other than one token", string(f))
	}
	return &oauth2.Token{AccessToken: token}, nil
}
