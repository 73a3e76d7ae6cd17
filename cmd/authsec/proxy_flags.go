// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/authsec-go/authsec/internal/hosts"
)

const proxyUsage = `usage: authsec proxy -upstream URL [flags]

Gives the programs on this machine an authenticated way to one API. Instead of
https://api.example.com/v1/x they ask for http://127.0.0.1:8081/v1/x; the agent's
token is added here, and they never see it. The environment of "authsec help"
says which agent it is. The token goes to -upstream alone, whatever AUTHSEC_HOSTS
and DOWNSTREAM_URL name.

Requests that a web page may have caused are refused: those with another Host, an
Origin, or a Sec-Fetch-Site other than none. Some WebSocket clients send an Origin
unless they are told not to.

A flag may be given in the environment instead, under the name beside it.

`

// proxyFlags is what the command line and the environment say.
type proxyFlags struct {
	listen      string
	upstream    string
	health      string
	cacheDir    string
	hosts       names
	allowRemote bool
	allowHTTP   bool
	attempts    int
	drain       time.Duration
	level       slog.Level

	upstreamTimeout time.Duration
}

// names is a flag that may be repeated, each time with a comma-separated list.
type names []string

func (n *names) String() string { return strings.Join(*n, ",") }

func (n *names) Set(s string) error {
	for name := range strings.SplitSeq(s, ",") {
		if name = strings.TrimSpace(name); name != "" {
			*n = append(*n, name)
		}
	}
	return nil
}

// newProxyFlags returns the flags and where they go to.
func newProxyFlags(stderr io.Writer) (*flag.FlagSet, *proxyFlags) {
	f := new(proxyFlags)
	flags := flag.NewFlagSet("authsec proxy", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&f.listen, "listen", "127.0.0.1:8081", "`address` for the programs")
	flags.StringVar(&f.upstream, "upstream", "", "the API's `URL`, to whose path the requests' are appended; required")
	flags.StringVar(&f.health, "health", "", "`address` for /healthz, /readyz and /metrics, as in :8082; default: none")
	flags.StringVar(&f.cacheDir, "cache-dir", "", "`directory` for the token, which the agent's other processes of this user on this machine are given, too; default: none")
	flags.Var(&f.hosts, "host", "another `name` by which this proxy may be called, as in proxy.local or proxy.local:80; may be repeated, or a comma-separated list; "+
		"browsers send Sec-Fetch-Site to localhost and loopback addresses only, so under another name a page's images get through")
	flags.BoolVar(&f.allowRemote, "allow-remote", false, "permit a -listen address that other machines reach: whoever reaches it acts as the agent")
	flags.BoolVar(&f.allowHTTP, "allow-http", false, "permit an -upstream with http:// that is not this machine: whoever reads the traffic has the token")
	flags.IntVar(&f.attempts, "attempts", 4, "how often an idempotent request is sent at most, where the upstream does not answer, or with 429, 500, 502, 503 or 504")
	flags.DurationVar(&f.drain, "drain", 25*time.Second, "how long requests in flight may take to end after SIGTERM")
	flags.DurationVar(&f.upstreamTimeout, "upstream-timeout", 10*time.Minute, "how long the upstream may take to begin its answer, each time that it is asked; 0: as long as the program waits")
	flags.TextVar(&f.level, "log-level", slog.LevelInfo, "least `level` that is logged: debug (one line a request), info, warn or error")
	flags.Usage = func() {
		fmt.Fprint(stderr, proxyUsage)
		flags.VisitAll(func(f *flag.Flag) {
			value, text := flag.UnquoteUsage(f)
			if f.DefValue != "" && f.DefValue != "false" {
				text += "; default: " + f.DefValue
			}
			fmt.Fprintf(stderr, "  %-27s %s\n      %s\n", strings.TrimSpace("-"+f.Name+" "+value), envName(f.Name), text)
		})
	}
	return flags, f
}

const envPrefix = "AUTHSEC_PROXY_"

// envName is the environment variable that stands for a flag.
func envName(flagName string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flagName, "-", "_"))
}

// fromEnv sets the flags that the command line left out as the environment says.
func fromEnv(flags *flag.FlagSet) error {
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	var err error
	flags.VisitAll(func(f *flag.Flag) {
		value := strings.TrimSpace(os.Getenv(envName(f.Name)))
		if err != nil || given[f.Name] || value == "" {
			return
		}
		if setErr := flags.Set(f.Name, value); setErr != nil {
			err = fmt.Errorf("%s: invalid value %q: %w", envName(f.Name), value, setErr)
		}
	})
	return err
}

// check says what is wrong with the flags' values, and returns the upstream's URL.
func (f *proxyFlags) check() (*url.URL, error) {
	u, err := url.Parse(f.upstream)
	switch {
	case f.upstream == "":
		return nil, errors.New("-upstream is not set: it is the API's URL, such as https://api.example.com")
	case err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" || strings.Contains(u.Host, "*"):
		return nil, errors.New("-upstream is not a URL like https://api.example.com")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("-upstream may have no user name, password, query or fragment")
	case u.Scheme == "http" && !f.allowHTTP && !hosts.Loopback(u.Hostname()):
		return nil, fmt.Errorf("-upstream would send the token over plain HTTP to %s: use https, or -allow-http if its network is to be trusted", u.Host)
	case f.attempts < 1:
		return nil, errors.New("-attempts is below 1")
	case f.drain < 0:
		return nil, errors.New("-drain is negative")
	case f.upstreamTimeout < 0:
		return nil, errors.New("-upstream-timeout is negative")
	}
	if _, err := hosts.Parse([]string{place(u)}); err != nil {
		return nil, fmt.Errorf("-upstream: its host %s", strings.TrimSuffix(err.Error(), ": "+hosts.Syntax))
	}
	if addr, err := net.ResolveTCPAddr("tcp", f.listen); err != nil {
		return nil, fmt.Errorf("-listen %s: %w", f.listen, err)
	} else if !f.allowRemote && !addr.IP.IsLoopback() {
		return nil, fmt.Errorf("-listen %s can be reached from other machines, and whoever reaches it acts as the agent: use 127.0.0.1, or -allow-remote", f.listen)
	}
	return u, nil
}

// place is the upstream as [authsec.Transport] lists it.
func place(upstream *url.URL) string {
	if upstream.Scheme == "http" && !hosts.Loopback(upstream.Hostname()) {
		return "http://" + upstream.Host // -allow-http was given
	}
	return upstream.Host
}
