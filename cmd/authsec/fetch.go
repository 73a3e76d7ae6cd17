// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/cmd/authsec/internal/answers"
	"github.com/authsec-go/authsec/cmd/authsec/internal/cli"
	"github.com/spf13/cobra"
	"golang.org/x/net/http/httpguts"
)

const readData = "check that the file of --data can be read"

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

// fetchFlags are the flags of fetch.
type fetchFlags struct {
	method, data, output string
	headers, hosts       []string
	hasData              bool // --data is set; it may be empty
	include, cache       bool
	timeout              time.Duration
}

func fetchCommand() *cobra.Command {
	f := new(fetchFlags)
	cmd := &cobra.Command{
		Use:   "fetch [flags] URL",
		Short: "Make one request with the token",
		Long: "Makes one request with the agent's token. It writes the body of the answer to\n" +
			"standard output, and the status line to standard error. It does not follow\n" +
			"redirects. It exits with 0 if the status is below 400.\n\n" + whereCached(),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return cli.Usagef("%d URLs, want one", len(args))
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.headers, "header", "H", nil, "a `header`, as in \"Accept: application/json\"; may be repeated")
	flags.StringVarP(&f.data, "data", "d", "", "the body: `data`, or @file, or @- for standard input; it is sent unchanged")
	flags.StringVarP(&f.method, "request", "X", "", "the `method`; default: GET, or POST with --data")
	flags.StringVarP(&f.output, "output", "o", "", "write the body to this `file`")
	flags.BoolVarP(&f.include, "include", "i", false, "write the status line and headers before the body")
	flags.DurationVar(&f.timeout, "timeout", time.Minute, "limit for the whole request, body included; 0: none")
	flags.Var((*cli.List)(&f.hosts), "hosts", "comma-separated `list` of hosts that the token may go to; default: AUTHSEC_HOSTS, or DOWNSTREAM_URL's host")
	flags.BoolVar(&f.cache, "cache", true, cacheUsage)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		f.hasData = flags.Changed("data")
		return f.fetch(cmd, args[0])
	}
	return cmd
}

// request returns the request without its body, or what is wrong with the flags.
func (f *fetchFlags) request(ctx context.Context, url string) (*http.Request, error) {
	method := f.method
	if method == "" && f.hasData {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, cmp.Or(method, http.MethodGet), url, nil)
	if err != nil {
		return nil, cli.Usagef("%w", withoutURL(err))
	}
	if (req.URL.Scheme != "http" && req.URL.Scheme != "https") || req.URL.Host == "" {
		return nil, cli.Usagef("the URL does not begin with https:// and a host")
	}
	if req.URL.User != nil {
		return nil, cli.Usagef("the URL has a user name or password in it, which does not belong there")
	}
	for _, h := range f.headers {
		name, value, ok := strings.Cut(h, ":")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, cli.Usagef("a --header does not begin with a name and a colon: write -H \"Name: value\"")
		}
		if value = strings.TrimSpace(value); !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return nil, cli.Usagef("a --header has a character that HTTP does not permit there: write -H \"Name: value\"")
		}
		if strings.EqualFold(name, "Host") {
			req.Host = value
			continue
		}
		req.Header.Add(name, value)
	}
	return req, nil
}

func (f *fetchFlags) fetch(cmd *cobra.Command, url string) error {
	ctx := cmd.Context()
	if f.timeout < 0 {
		return cli.Usagef("--timeout is negative")
	}
	if f.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.timeout)
		defer cancel()
	}
	req, err := f.request(ctx, url)
	if err != nil {
		return err
	}
	src, cfg, err := sourceFromEnv(nil, func(cfg *authsec.Config) {
		if f.cache {
			useUserCache(cfg, cmd)
		}
	})
	if err != nil {
		return wrongEnvironment(err)
	}
	if len(f.hosts) > 0 {
		cfg.Hosts = f.hosts
	}
	if len(cfg.Hosts) == 0 {
		return cli.Advise(errors.New("no host is listed that the token may go to"), "list it with --hosts, or in AUTHSEC_HOSTS, or set DOWNSTREAM_URL")
	}
	if f.hasData {
		if err := setBody(req, f.data, cmd.InOrStdin()); err != nil {
			if ctx.Err() != nil {
				return cli.Advise(err, fetchAdvice(err))
			}
			return cli.Advise(err, readData)
		}
	}

	seen := &witness{own: req.Header.Get("Authorization")}
	// Not with an http.Client: it fails if the answer has a malformed Location.
	resp, err := (&authsec.Transport{Source: impatient{src}, Base: seen, Hosts: cfg.Hosts}).RoundTrip(req)
	switch {
	case errors.As(err, new(*os.PathError)): // of the body
		return cli.Advise(plain(err), readData)
	case err != nil:
		return cli.Advise(plain(err), fetchAdvice(err))
	}
	defer resp.Body.Close()
	notCached(src.Stats().Cache.LastError, cmd)
	fmt.Fprintln(cmd.ErrOrStderr(), resp.Proto, answers.Status(resp.StatusCode))
	if !seen.sent {
		say(cmd, "the token was not sent to %s: list the host with --hosts, or in AUTHSEC_HOSTS, if the token belongs there", req.URL.Host)
	}
	if err := f.write(ctx, resp, cmd.OutOrStdout()); err != nil {
		return cli.Advise(plain(err), fetchAdvice(err))
	}
	if err := src.Stats().LastError; resp.StatusCode == http.StatusUnauthorized && err != nil {
		return cli.Advise(err, fetchAdvice(err)) // why there is no other token for the API
	}
	if resp.StatusCode >= 400 {
		return cli.ErrFailed // the status line says why
	}
	return nil
}

// setBody sets the request's body to data, or to the file that data names.
func setBody(req *http.Request, data string, stdin io.Reader) error {
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
		req.Body, req.ContentLength = io.NopCloser(stdin), -1
		return nil
	default:
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		open := func() (io.ReadCloser, error) {
			return opened(req.Context(), func() (*os.File, error) { return os.Open(name) })
		}
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

// write writes the answer to stdout, or to the file of --output.
func (f *fetchFlags) write(ctx context.Context, resp *http.Response, stdout io.Writer) (err error) {
	to := stdout
	if f.output != "" && f.output != "-" {
		file, createErr := opened(ctx, func() (*os.File, error) {
			// Not with os.Create: that also reads, so a pipe is open without its other side.
			return os.OpenFile(f.output, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
		})
		if createErr != nil {
			return createErr
		}
		to = file
		defer func() { err = cmp.Or(err, file.Close()) }()
	}
	if f.include {
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

// fetchAdvice is advice that names fetch's flags where they can help.
func fetchAdvice(err error) string {
	pathErr := (*os.PathError)(nil)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "give it more time with --timeout, or check that the server can be reached from here"
	case errors.Is(err, authsec.ErrInsecureURL):
		return "use https, or list the host in --hosts with http:// before it"
	case errors.As(err, &pathErr):
		return "check that the file can be written to"
	}
	return strings.ReplaceAll(advice(err), "DOWNSTREAM_URL", "the URL")
}
