// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/authsec-go/authsec/cmd/authsec/internal/cli"
	"github.com/authsec-go/authsec/internal/hosts"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const proxyText = `Adds the agent's token to requests of programs on this machine to one API. The
programs ask for http://127.0.0.1:8081/v1/x in place of https://api.example.com/v1/x,
and never see the token. The environment says which agent it is: see "authsec help".
The token goes only to --upstream; AUTHSEC_HOSTS and DOWNSTREAM_URL are not used.

Requests that a web page may have caused are not served: those with another Host, an
Origin, or a Sec-Fetch-Site other than none. Some WebSocket clients send an Origin
by default; turn that off.`

// proxyFlags are the values of the flags.
type proxyFlags struct {
	listen   string
	upstream string
	health   string
	cache    string

	cacheKeyFile string
	hosts        cli.List
	allowRemote  bool
	allowHTTP    bool
	attempts     int
	maxConns     int
	drain        time.Duration
	level        slog.Level

	upstreamTimeout time.Duration
}

func proxyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:         "proxy --upstream URL [flags]",
		Short:       "Add the token to other programs' requests to one API",
		Long:        proxyText,
		Annotations: map[string]string{cli.Drains: "as long as --drain says", cli.LogsErrors: "as all of its lines"},
	}
	f := newProxyFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return proxy(cmd.Context(), f, cmd.ErrOrStderr())
	}
	return cmd
}

// newProxyFlags defines the flags, and returns the values that they set.
func newProxyFlags(flags *pflag.FlagSet) *proxyFlags {
	f := new(proxyFlags)
	flags.StringVar(&f.listen, "listen", "127.0.0.1:8081", "`address` for the programs")
	flags.StringVar(&f.upstream, "upstream", "", "the API's `URL`; the path of each request is appended to its path; required")
	flags.StringVar(&f.health, "health", "", "`address` for /healthz, /readyz and /metrics, as in :8082; default: none")
	flags.StringVar(&f.cache, "cache", "", "`where` the agent's processes share the token: redis://host:6379 or rediss://host:6379 for many machines, or a directory for this user's processes on this machine; default: none")
	flags.StringVar(&f.cacheKeyFile, "cache-key-file", "", "`file` with the key that encrypts what is in --cache, 64 hexadecimal digits; more lines are older keys; required for Redis; default for a directory: a key in it")
	flags.Var(&f.hosts, "host", "another `name` that programs may use for this proxy, as in proxy.local or proxy.local:80; may be repeated, or a comma-separated list; "+
		"browsers send Sec-Fetch-Site only to localhost and loopback addresses, so under another name requests for a page's images are served")
	flags.BoolVar(&f.allowRemote, "allow-remote", false, "permit a --listen address that other machines can reach: whoever reaches it acts as the agent")
	flags.BoolVar(&f.allowHTTP, "allow-http", false, "permit an --upstream with http:// on another machine: whoever can read the traffic has the token")
	flags.IntVar(&f.attempts, "attempts", 4, "the most attempts for an idempotent request, if the upstream does not answer, or answers with a transient status such as 503")
	flags.IntVar(&f.maxConns, "max-connections", 2048, "`number` of connections of programs that are open at once; more wait; over HTTP/2 also the number of requests at once; more get 503")
	flags.DurationVar(&f.drain, "drain", 25*time.Second, "how long requests in flight may take after SIGTERM")
	flags.DurationVar(&f.upstreamTimeout, "upstream-timeout", 10*time.Minute, "how long the upstream may take to begin its answer, for each attempt; 0: as long as the program waits")
	flags.TextVar(&f.level, "log-level", slog.LevelInfo, "lowest `level` that is logged: debug (one line a request), info, warn or error")
	return f
}

// check returns the upstream's URL, or what is wrong with the flags.
func (f *proxyFlags) check(ctx context.Context) (*url.URL, error) {
	// The old name of the variable, from when --cache took only directories.
	f.cache = cmp.Or(f.cache, strings.TrimSpace(os.Getenv("AUTHSEC_PROXY_CACHE_DIR")))
	u, err := hosts.ParseURL(f.upstream, "https://api.example.com")
	switch {
	case f.upstream == "":
		return nil, errors.New("--upstream is not set: it is the API's URL, such as https://api.example.com")
	case err != nil:
		return nil, fmt.Errorf("--upstream %w", err)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("--upstream has a query or a fragment, which does not belong there")
	case u.Scheme == "http" && !f.allowHTTP && !isLocal(u):
		return nil, fmt.Errorf("--upstream would send the token over plain HTTP to %s: use https, or --allow-http if its network is to be trusted", u.Host)
	case f.attempts < 1:
		return nil, errors.New("--attempts is below 1")
	case f.maxConns < 1:
		return nil, errors.New("--max-connections is below 1")
	case strings.Contains(f.cache, "://") && !isRedis(f.cache):
		return nil, errors.New("--cache is none of redis://, rediss:// and a directory")
	case isRedis(f.cache) && f.cacheKeyFile == "":
		return nil, errors.New("--cache-key-file is not set: what is in Redis is encrypted with the key in it (openssl rand -hex 32 makes one)")
	case f.cacheKeyFile != "" && f.cache == "":
		return nil, errors.New("--cache-key-file is set without --cache")
	case f.drain < 0:
		return nil, errors.New("--drain is negative")
	case f.upstreamTimeout < 0:
		return nil, errors.New("--upstream-timeout is negative")
	}
	if _, err := hosts.Parse([]string{hostPattern(u)}); err != nil {
		return nil, fmt.Errorf("--upstream: its host %s", strings.TrimSuffix(err.Error(), ": "+hosts.Syntax))
	}
	if private, err := isPrivate(ctx, f.listen); err != nil {
		return nil, fmt.Errorf("--listen %s: %w", f.listen, err)
	} else if !f.allowRemote && !private {
		return nil, fmt.Errorf("--listen %s can be reached from other machines, and whoever reaches it acts as the agent: use 127.0.0.1, or --allow-remote", f.listen)
	}
	return u, nil
}

// isPrivate reports whether only this machine can reach an address to listen on.
func isPrivate(ctx context.Context, address string) (bool, error) {
	host, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = net.DefaultResolver.LookupPort(ctx, "tcp", port)
	}
	if err != nil || host == "" {
		return false, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	return !slices.ContainsFunc(ips, func(ip netip.Addr) bool { return !ip.Unmap().IsLoopback() }), err
}

// isLocal reports whether plain HTTP to the upstream stays on this machine, as the
// sidecar's [authsec.Transport] decides it: its Base is a timed.
func isLocal(upstream *url.URL) bool { return hosts.Local(upstream, new(timed)) }

// hostPattern is the upstream's entry in Transport.Hosts.
func hostPattern(upstream *url.URL) string {
	if upstream.Scheme == "http" && !isLocal(upstream) {
		return "http://" + upstream.Host // --allow-http is set
	}
	return upstream.Host
}
