// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/authsec-go/authsec"
)

const fetchUsage = `usage: authsec fetch [flags] URL

Makes one request with the agent's token. It writes the body of the answer to
standard output, and the status line to standard error. It does not follow
redirects. It exits with 0 if the status is below 400.

`

// witness is the base of the client that makes the request. It notes whether the
// token was sent.
type witness struct {
	own  string // the caller's own Authorization header
	sent bool
}

func (w *witness) RoundTrip(req *http.Request) (*http.Response, error) {
	if got := req.Header.Get("Authorization"); got != "" && got != w.own {
		w.sent = true
	}
	return http.DefaultTransport.RoundTrip(req)
}

func fetch(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("authsec fetch", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var headers []string
	flags.Func("H", "a `header`, as in \"Accept: application/json\"; may be repeated", func(s string) error {
		headers = append(headers, s)
		return nil
	})
	var data *string
	flags.Func("d", "the body: `data`, or @file, or @- for standard input; it is sent unchanged", func(s string) error {
		data = &s
		return nil
	})
	method := flags.String("X", "", "the `method`; default: GET, or POST with -d")
	output := flags.String("o", "", "write the body to this `file`")
	include := flags.Bool("i", false, "write the status line and headers before the body")
	timeout := flags.Duration("timeout", time.Minute, "limit for the whole request, body included; 0: none")
	hosts := flags.String("hosts", "", "comma-separated `list` of hosts that the token may go to; default: AUTHSEC_HOSTS, or DOWNSTREAM_URL's host")
	useCache := flags.Bool("cache", true, cacheUsage)
	flags.Usage = func() {
		fmt.Fprint(stderr, fetchUsage+whereCached()+"\n")
		flags.PrintDefaults()
	}
	wrong := func(format string, args ...any) int {
		fmt.Fprintf(stderr, "authsec fetch: "+format+"\n", args...)
		return 2
	}

	// As with curl, flags may follow the URL.
	var urls []string
	for rest := args; ; rest = flags.Args()[1:] {
		if err := flags.Parse(rest); errors.Is(err, flag.ErrHelp) {
			return 0
		} else if err != nil {
			return 2
		}
		if flags.NArg() == 0 {
			break
		}
		urls = append(urls, flags.Arg(0))
	}
	if len(urls) != 1 {
		return wrong("%d URLs, want one; see authsec fetch -h", len(urls))
	}
	if *method == "" && data != nil {
		*method = http.MethodPost
	}
	if *timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *timeout)
		defer cancel()
	}
	req, err := http.NewRequestWithContext(ctx, cmp.Or(*method, http.MethodGet), urls[0], nil)
	if err != nil {
		return wrong("%s", oneLine(plain(err).Error()))
	}
	if (req.URL.Scheme != "http" && req.URL.Scheme != "https") || req.URL.Host == "" {
		return wrong("the URL does not begin with https:// and a host")
	}
	for _, h := range headers {
		name, value, ok := strings.Cut(h, ":")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return wrong("a -H does not begin with a name and a colon: write -H \"Name: value\"")
		}
		if value = strings.TrimSpace(value); strings.EqualFold(name, "Host") {
			req.Host = value
			continue
		}
		req.Header.Add(name, value)
	}

	src, cfg, err := sourceFromEnv(nil, func(cfg *authsec.Config) {
		if *useCache {
			useUserCache(cfg, "fetch", stderr)
		}
	})
	if err != nil {
		return fail(stderr, "fetch", err, "correct the environment as named above")
	}
	if *hosts != "" {
		cfg.Hosts = strings.FieldsFunc(*hosts, func(r rune) bool { return r == ',' || r == ' ' })
	}
	if len(cfg.Hosts) == 0 {
		return fail(stderr, "fetch", errors.New("no host is listed that the token may go to"), "list it with -hosts, or in AUTHSEC_HOSTS, or set DOWNSTREAM_URL")
	}
	if data != nil {
		if err := setBody(req, *data); err != nil {
			return fail(stderr, "fetch", err, "check that the file of -d can be read")
		}
	}

	seen := &witness{own: req.Header.Get("Authorization")}
	client := &http.Client{
		Transport:     &authsec.Transport{Source: impatient{src}, Base: seen, Hosts: cfg.Hosts},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return fail(stderr, "fetch", plain(err), fetchAdvice(err))
	}
	defer resp.Body.Close()
	notCached(src.Stats().Cache.LastError, "fetch", stderr)
	fmt.Fprintln(stderr, resp.Proto, resp.Status)
	if !seen.sent {
		fmt.Fprintf(stderr, "authsec fetch: the token was not sent to %s: list the host with -hosts, or in AUTHSEC_HOSTS, if the token belongs there\n", req.URL.Host)
	}
	if err := write(resp, stdout, *output, *include); err != nil {
		return fail(stderr, "fetch", err, fetchAdvice(err))
	}
	if err := src.Stats().LastError; resp.StatusCode == http.StatusUnauthorized && err != nil {
		return fail(stderr, "fetch", err, fetchAdvice(err)) // why there is no other token for the API
	}
	if resp.StatusCode >= 400 {
		return 1
	}
	return 0
}

// setBody sets the request's body to data, or to the file that data names.
func setBody(req *http.Request, data string) error {
	if req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded") // as curl does
	}
	name, isFile := strings.CutPrefix(data, "@")
	switch {
	case !isFile:
		req.ContentLength = int64(len(data))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(data)), nil }
		if data == "" {
			req.GetBody = func() (io.ReadCloser, error) { return http.NoBody, nil }
		}
	case name == "-":
		req.Body, req.ContentLength = os.Stdin, -1
		return nil
	default:
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		open := func() (io.ReadCloser, error) { return os.Open(name) }
		if !info.Mode().IsRegular() { // a pipe can be read only once, and its length is unknown
			req.ContentLength = -1
			req.Body, err = open()
			return err
		}
		req.ContentLength, req.GetBody = info.Size(), open
	}
	var err error
	req.Body, err = req.GetBody()
	return err
}

// write writes the answer to stdout, or to the file output.
func write(resp *http.Response, stdout io.Writer, output string, include bool) (err error) {
	to := stdout
	if output != "" && output != "-" {
		f, createErr := os.Create(output)
		if createErr != nil {
			return createErr
		}
		to = f
		defer func() { err = cmp.Or(err, f.Close()) }()
	}
	if include {
		if _, err := fmt.Fprintf(to, "%s %s\r\n", resp.Proto, resp.Status); err != nil {
			return err
		}
		if err := resp.Header.Write(to); err != nil {
			return err
		}
		if _, err := fmt.Fprint(to, "\r\n"); err != nil {
			return err
		}
	}
	_, err = io.Copy(to, resp.Body)
	return err
}

// plain is err without the URL, whose query may hold a secret.
func plain(err error) error {
	if e := (*url.Error)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// fetchAdvice is advice that names fetch's flags where they can help.
func fetchAdvice(err error) string {
	pathErr := (*os.PathError)(nil)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "give it more time with -timeout, or check that the server can be reached from here"
	case errors.Is(err, authsec.ErrInsecureURL):
		return "use https, or list the host in -hosts with http:// before it"
	case errors.As(err, &pathErr):
		return "check that the file can be written to"
	}
	return strings.ReplaceAll(advice(err), "DOWNSTREAM_URL", "the URL")
}
