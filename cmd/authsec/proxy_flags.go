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

Adds the agent's token to requests of programs on this machine to one API. The
programs ask for http://127.0.0.1:8081/v1/x in place of https://api.example.com/v1/x,
and never see the token. The environment says which agent it is: see "authsec help".
The token goes only to -upstream; AUTHSEC_HOSTS and DOWNSTREAM_URL are not used.

Requests that a web page may have caused are not served: those with another Host, an
Origin, or a Sec-Fetch-Site other than none. Some WebSocket clients send an Origin
by default; turn that off.

Each flag can also be set by the environment variable beside it.

`

// proxyFlags are the values of the flags.
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

// names is a flag that may be repeated. Each value is a comma-separated list.
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

// newProxyFlags returns the flag set and the values that it sets.
func newProxyFlags(stderr io.Writer) (*flag.FlagSet, *proxyFlags) {
	f := new(proxyFlags)
	flags := flag.NewFlagSet("authsec proxy", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&f.listen, "listen", "127.0.0.1:8081", "`address` for the programs")
	flags.StringVar(&f.upstream, "upstream", "", "the API's `URL`; the path of each request is appended to its path; required")
	flags.StringVar(&f.health, "health", "", "`address` for /healthz, /readyz and /metrics, as in :8082; default: none")
	flags.StringVar(&f.cacheDir, "cache-dir", "", "`directory` that shares the token with the agent's other processes of this user on this machine; default: none")
	flags.Var(&f.hosts, "host", "another `name` that programs may use for this proxy, as in proxy.local or proxy.local:80; may be repeated, or a comma-separated list; "+
		"browsers send Sec-Fetch-Site only to localhost and loopback addresses, so under another name requests for a page's images are served")
	flags.BoolVar(&f.allowRemote, "allow-remote", false, "permit a -listen address that other machines can reach: whoever reaches it acts as the agent")
	flags.BoolVar(&f.allowHTTP, "allow-http", false, "permit an -upstream with http:// on another machine: whoever can read the traffic has the token")
	flags.IntVar(&f.attempts, "attempts", 4, "how often an idempotent request is sent at most, if the upstream does not answer, or answers with a transient status such as 503")
	flags.DurationVar(&f.drain, "drain", 25*time.Second, "how long requests in flight may take after SIGTERM")
	flags.DurationVar(&f.upstreamTimeout, "upstream-timeout", 10*time.Minute, "how long the upstream may take to begin its answer, for each attempt; 0: as long as the program waits")
	flags.TextVar(&f.level, "log-level", slog.LevelInfo, "lowest `level` that is logged: debug (one line a request), info, warn or error")
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

// envName returns the environment variable that sets a flag.
func envName(flagName string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flagName, "-", "_"))
}

// fromEnv sets flags from the environment, if the command line does not set them.
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

// check returns the upstream's URL, or what is wrong with the flags.
func (f *proxyFlags) check() (*url.URL, error) {
	u, err := hosts.ParseURL(f.upstream, "https://api.example.com")
	switch {
	case f.upstream == "":
		return nil, errors.New("-upstream is not set: it is the API's URL, such as https://api.example.com")
	case err != nil:
		return nil, fmt.Errorf("-upstream %w", err)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("-upstream has a query or a fragment, which does not belong there")
	case u.Scheme == "http" && !f.allowHTTP && !isLocal(u):
		return nil, fmt.Errorf("-upstream would send the token over plain HTTP to %s: use https, or -allow-http if its network is to be trusted", u.Host)
	case f.attempts < 1:
		return nil, errors.New("-attempts is below 1")
	case f.drain < 0:
		return nil, errors.New("-drain is negative")
	case f.upstreamTimeout < 0:
		return nil, errors.New("-upstream-timeout is negative")
	}
	if _, err := hosts.Parse([]string{hostPattern(u)}); err != nil {
		return nil, fmt.Errorf("-upstream: its host %s", strings.TrimSuffix(err.Error(), ": "+hosts.Syntax))
	}
	if addr, err := net.ResolveTCPAddr("tcp", f.listen); err != nil {
		return nil, fmt.Errorf("-listen %s: %w", f.listen, err)
	} else if !f.allowRemote && !addr.IP.IsLoopback() {
		return nil, fmt.Errorf("-listen %s can be reached from other machines, and whoever reaches it acts as the agent: use 127.0.0.1, or -allow-remote", f.listen)
	}
	return u, nil
}

// isLocal reports whether plain HTTP to the upstream stays on this machine, as the
// sidecar's [authsec.Transport] decides it: its Base is a timed.
func isLocal(upstream *url.URL) bool { return hosts.Local(upstream, new(timed)) }

// hostPattern is the upstream's entry in Transport.Hosts.
func hostPattern(upstream *url.URL) string {
	if upstream.Scheme == "http" && !isLocal(upstream) {
		return "http://" + upstream.Host // -allow-http is set
	}
	return upstream.Host
}
