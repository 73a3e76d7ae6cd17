// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package dev

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/cmd/authsec/internal/cli"
	"github.com/authsec-go/authsec/internal/wire"
	"github.com/spf13/pflag"
)

const (
	older = "older"
	newer = "newer"

	// credential is the caller's own token that the newer generation wants. It is
	// always the same, so that an exported environment outlives a restart.
	credential = "authsec-dev-session"

	maxLifetime      = 365 * 24 * time.Hour
	maxLifetimeNewer = 24 * time.Hour // the server's own limit
	maxLatency       = 10 * time.Minute
)

// options are the command's flags.
type options struct {
	listen, apiListen string
	hosts             []string // accepted in Host, beside those of this machine
	clientID          string
	permissions       []string
	audience          string
	lifetime          time.Duration
	require           []string
	generation        string
	rateLimit         int // requests a minute; 0: no limit
	latency           time.Duration
	fail              int     // status; 0: no failures
	failRate          float64 // 0: 1 if fail is set
}

func (o *options) define(flags *pflag.FlagSet) {
	flags.SortFlags = false
	flags.StringVar(&o.listen, "listen", "127.0.0.1:7480", "loopback `address` of the AuthSec server; port 0: any free port")
	flags.StringVar(&o.apiListen, "api-listen", "127.0.0.1:7481", "loopback `address` of the protected API; port 0: any free port")
	flags.Var((*cli.List)(&o.hosts), "host", "another `name` that programs may use for this machine, such as host.docker.internal in a container; may be repeated, or a comma-separated list")
	flags.StringVar(&o.clientID, "client-id", authsectest.ClientID, "the agent's client `ID`, a UUID")
	flags.StringSliceVar(&o.permissions, "permissions", []string{"billing:read", "users:read"}, "what is delegated to the agent; empty: nothing")
	flags.StringVar(&o.audience, "audience", "authsec-api", "the API's `name`; tokens have it in their aud")
	flags.DurationVar(&o.lifetime, "lifetime", time.Hour, "how long a delegation lasts")
	flags.StringSliceVar(&o.require, "require", nil, "permissions that the API requires; it answers 403 without them (default none)")
	flags.StringVar(&o.generation, "generation", older, "the `generation` of AuthSec servers: older, or newer, which wants the caller's credential, too")
	flags.IntVar(&o.rateLimit, "rate-limit", 100, "how many `requests` a minute the AuthSec server accepts, as real ones do; 0: no limit")
	flags.DurationVar(&o.latency, "latency", 0, "how long the AuthSec server waits before it answers with a token")
	flags.IntVar(&o.fail, "fail", 0, "answer requests for a token with this HTTP `status`, 400 to 599 (default none)")
	flags.Float64Var(&o.failRate, "fail-rate", 0, "the `share` of requests for a token that fail, up to 1 (default 1 with --fail; without --fail they fail with 503)")
}

// validate returns the options with their defaults filled in, or a usage error.
func (o options) validate() (options, error) {
	if err := checkAddress("listen", o.listen); err != nil {
		return o, err
	}
	if err := checkAddress("api-listen", o.apiListen); err != nil {
		return o, err
	}
	o.clientID = wire.CanonicalID(strings.TrimSpace(o.clientID))
	if !isUUID(o.clientID) {
		return o, cli.Usagef("--client-id %q is not a UUID: write one like %s", o.clientID, authsectest.ClientID)
	}
	o.permissions, o.require = words(o.permissions...), words(o.require...)
	for flag, list := range map[string][]string{"permissions": o.permissions, "require": o.require} {
		for _, p := range list {
			if !isPermission(p) {
				return o, cli.Usagef("--%s: %q is no permission: write one like billing:read", flag, p)
			}
		}
	}
	if o.audience = strings.TrimSpace(o.audience); o.audience == "" {
		return o, cli.Usagef("--audience is empty: write the API's name, such as authsec-api")
	}
	if o.generation != older && o.generation != newer {
		return o, cli.Usagef("--generation %q: write older or newer", o.generation)
	}
	if err := checkLifetime(o.lifetime, o.generation); err != nil {
		return o, cli.Usagef("--lifetime %w", err)
	}
	switch {
	case o.rateLimit < 0:
		return o, cli.Usagef("--rate-limit %d is negative: 0 means no limit", o.rateLimit)
	case o.latency < 0 || o.latency > maxLatency:
		return o, cli.Usagef("--latency %v is not from 0 to %v", o.latency, maxLatency)
	case o.fail != 0 && (o.fail < 400 || o.fail > 599):
		return o, cli.Usagef("--fail %d is not a status from 400 to 599: 0 means no failures", o.fail)
	case !(o.failRate >= 0 && o.failRate <= 1): // not a number, too
		return o, cli.Usagef("--fail-rate %v is not from 0 to 1: 0.5 means half of the requests", o.failRate)
	case o.fail == 0 && o.failRate > 0:
		o.fail = http.StatusServiceUnavailable
	case o.fail != 0 && o.failRate == 0:
		o.failRate = 1
	}
	return o, nil
}

// delegation is what is delegated unless a request says otherwise.
func (o options) delegation() authsectest.Delegation {
	return authsectest.Delegation{Permissions: o.permissions, Audience: []string{o.audience}, TTL: o.lifetime}
}

// checkLifetime says what is wrong with a delegation's lifetime.
func checkLifetime(d time.Duration, generation string) error {
	switch {
	case d < time.Second:
		return fmt.Errorf("%v is too short: at least 1s", d)
	case generation == newer && d > maxLifetimeNewer:
		return fmt.Errorf("%v is too long: the newer generation permits at most %v", d, maxLifetimeNewer)
	case d > maxLifetime:
		return fmt.Errorf("%v is too long: at most %v", d, maxLifetime)
	}
	return nil
}

// checkAddress permits loopback addresses only. Whoever can reach the server can
// delegate.
func checkAddress(flag, address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return cli.Usagef("--%s %q is no address: write one like 127.0.0.1:7480", flag, address)
	}
	ip, err := netip.ParseAddr(host)
	if !strings.EqualFold(host, "localhost") && (err != nil || !ip.Unmap().IsLoopback()) {
		return cli.Usagef("--%s %q is not a loopback address: whoever can reach this server can delegate, so it is for this machine only; write 127.0.0.1 or [::1] as its host", flag, address)
	}
	return nil
}

// isUUID reports whether id is a UUID in lower case with hyphens.
func isUUID(id string) bool { return len(id) == 36 && id[8] == '-' && wire.CanonicalID(id) == id }

// isPermission reports whether s can be a permission (RFC 6749, section 3.3).
func isPermission(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' })
}

// words splits texts at white space and commas. It never returns nil.
func words(texts ...string) []string {
	list := []string{}
	for _, text := range texts {
		list = append(list, strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' })...)
	}
	return list
}
