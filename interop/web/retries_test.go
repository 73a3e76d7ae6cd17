// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package web

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/interop/internal/itest"
	restyv2 "github.com/go-resty/resty/v2"
	"github.com/hashicorp/go-retryablehttp"
	"resty.dev/v3"
)

// If a library around the Transport retries as well, an API that is down gets the product
// of both. So the Transport's retries are turned off.

// retryable returns a client of retryablehttp, which retries by itself.
func retryable(cfg authsec.Config) (*retryablehttp.Client, *authsec.Source, error) {
	// docs: begin retryablehttp
	transport, err := authsec.NewTransport(cfg)
	if err != nil {
		return nil, nil, err
	}
	transport.Retry.MaxAttempts = 1 // the library has retries of its own
	retrying := retryablehttp.NewClient()
	retrying.HTTPClient = &http.Client{Transport: transport}
	retrying.CheckRetry = func(ctx context.Context, resp *http.Response, err error) (bool, error) {
		if errors.Is(err, authsec.ErrNotDelegated) {
			return false, err // only an admin can help
		}
		return retryablehttp.DefaultRetryPolicy(ctx, resp, err)
	}
	// docs: end retryablehttp
	return retrying, transport.Source.(*authsec.Source), nil
}

// restyV2 returns a client of resty, which does not retry by default.
func restyV2(cfg authsec.Config) (*restyv2.Client, *authsec.Source, error) {
	client, err := authsec.NewClient(cfg)
	if err != nil {
		return nil, nil, err
	}
	api := restyv2.NewWithClient(client)
	return api, itest.SourceOf(client), nil
}

// restyV3 is the same for the next version.
func restyV3(cfg authsec.Config) (*resty.Client, *authsec.Source, error) {
	// docs: begin resty-v3
	client, err := authsec.NewClient(cfg)
	if err != nil {
		return nil, nil, err
	}
	api := resty.NewWithClient(client)
	// docs: end resty-v3
	return api, itest.SourceOf(client), nil
}

// do sends a body with one of the libraries, and returns the answer.
type do func(ctx context.Context, method, url, body string) (status int, got string, err error)

// libraries make a do around a Transport. The library itself retries 3 times, after
// short waits.
var libraries = []struct {
	name string
	over func(*testing.T, *authsec.Transport) do
	// How many attempts one request causes at an API that is down, by policy and method.
	attempts map[string]map[string]int
}{
	{
		name: "retryablehttp",
		over: func(t *testing.T, transport *authsec.Transport) do {
			retrying := retryablehttp.NewClient()
			retrying.HTTPClient = &http.Client{Transport: transport}
			retrying.RetryMax, retrying.RetryWaitMin, retrying.RetryWaitMax = 3, time.Millisecond, time.Millisecond
			retrying.Logger = nil
			return func(ctx context.Context, method, url, body string) (int, string, error) {
				req, err := retryablehttp.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
				if err != nil {
					return 0, "", err
				}
				resp, err := retrying.Do(req)
				if err != nil {
					return 0, "", err
				}
				defer resp.Body.Close()
				got, err := io.ReadAll(resp.Body)
				return resp.StatusCode, string(got), err
			}
		},
		attempts: map[string]map[string]int{
			"both":              {"GET": 16, "PUT": 16, "POST": 4},
			"the library alone": {"GET": 4, "PUT": 4, "POST": 4},
		},
	},
	{
		name: "resty v2",
		over: func(t *testing.T, transport *authsec.Transport) do {
			api := restyv2.NewWithClient(&http.Client{Transport: transport}).
				SetRetryCount(3).SetRetryWaitTime(time.Millisecond).SetRetryMaxWaitTime(time.Millisecond).
				AddRetryCondition(func(resp *restyv2.Response, _ error) bool { return resp.StatusCode() == http.StatusServiceUnavailable }).
				SetLogger(silent{})
			return func(ctx context.Context, method, url, body string) (int, string, error) {
				resp, err := api.R().SetContext(ctx).SetBody(body).Execute(method, url)
				return resp.StatusCode(), resp.String(), err
			}
		},
		attempts: map[string]map[string]int{
			"both":              {"GET": 16, "PUT": 16, "POST": 4},
			"the library alone": {"GET": 4, "PUT": 4, "POST": 4},
		},
	},
	{
		name: "resty v3",
		over: func(t *testing.T, transport *authsec.Transport) do {
			api := resty.NewWithClient(&http.Client{Transport: transport}).
				SetRetryCount(3).SetRetryWaitTime(time.Millisecond).SetRetryMaxWaitTime(time.Millisecond).
				AddRetryConditions(resty.RetryConditionStatus5XX).SetLogger(silent{})
			t.Cleanup(func() { api.Close() })
			return func(ctx context.Context, method, url, body string) (int, string, error) {
				resp, err := api.R().SetContext(ctx).SetBody(body).Execute(method, url)
				return resp.StatusCode(), resp.String(), err
			}
		},
		attempts: map[string]map[string]int{
			"both":              {"GET": 16, "PUT": 16, "POST": 1},
			"the library alone": {"GET": 4, "PUT": 4, "POST": 1},
		},
	},
}

// silent is a logger of resty.
type silent struct{}

func (silent) Errorf(string, ...any) {}
func (silent) Warnf(string, ...any)  {}
func (silent) Debugf(string, ...any) {}

func TestRetriesMultiply(t *testing.T) {
	for _, library := range libraries {
		for _, ours := range retries {
			t.Run(library.name+"/"+ours.name, func(t *testing.T) {
				stack := itest.New(t)
				api := stack.API(t, unavailable, itest.Permissions...)
				client, _ := newClient(t, stack.Config(api.URL))
				transport := client.Transport.(*authsec.Transport)
				transport.Retry = ours.policy
				send := library.over(t, transport)
				for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodPost} {
					before := stack.Requests()
					status, _, err := send(t.Context(), method, api.URL, "hello")
					if got, want := stack.Requests()-before, library.attempts[ours.name][method]; got != want {
						t.Errorf("%s: %d attempts, want %d (%d, %v)", method, got, want, status, err)
					}
					if err != nil {
						stack.CheckNoToken(t, err.Error())
					}
				}
			})
		}
	}
}

func TestLibrariesWithRetries(t *testing.T) {
	for _, library := range libraries {
		t.Run(library.name, func(t *testing.T) {
			stack := itest.New(t)
			api := stack.API(t, http.HandlerFunc(repeat), itest.Permissions...)
			overNew := func() (func() error, *authsec.Source) {
				client, src := newClient(t, stack.Config(api.URL))
				transport := client.Transport.(*authsec.Transport)
				transport.Retry.MaxAttempts = 1
				send := library.over(t, transport)
				return func() error {
					status, got, err := send(t.Context(), http.MethodPost, api.URL, "hello")
					if err != nil {
						return err
					}
					if status != http.StatusOK {
						return statusError(status)
					}
					if got != "hello" {
						t.Errorf("answer = %q, want hello", got)
					}
					return nil
				}, src
			}
			call, src := overNew()
			rejected, without := stack.Live(t, src, call)
			if rejected != statusError(http.StatusUnauthorized) {
				t.Errorf("after the revocation: %v, want the API's 401", rejected)
			}
			stack.CheckNotDelegated(t, without)
			call, _ = overNew()
			stack.Replace(t, call)
		})
	}
}

// The constructors are quoted in the documentation.
func TestConstructorsOfLibrariesWithRetries(t *testing.T) {
	stack := itest.New(t)
	api := stack.API(t, http.HandlerFunc(repeat), itest.Permissions...)
	cfg := stack.Config(api.URL)

	one, _, err := retryable(cfg)
	if err != nil {
		t.Fatal(err)
	}
	one.Logger = nil
	resp, err := one.Post(api.URL, "text/plain", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	stack.CheckSeen(t)

	two, _, err := restyV2(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := two.R().SetBody("hello").Post(api.URL); err != nil || resp.String() != "hello" {
		t.Errorf("resty v2: %q, %v", resp, err)
	}
	three, _, err := restyV3(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer three.Close()
	if resp, err := three.R().SetBody("hello").Post(api.URL); err != nil || resp.String() != "hello" {
		t.Errorf("resty v3: %q, %v", resp, err)
	}
	if n := stack.Requests(); n != 3 {
		t.Errorf("%d requests, want 3", n)
	}

	// There is no retry if only an admin can help.
	stack.Revoke()
	one, _, err = retryable(cfg)
	if err != nil {
		t.Fatal(err)
	}
	one.Logger, one.RetryWaitMin, one.RetryWaitMax = nil, time.Hour, time.Hour
	resp, err = one.Get(api.URL)
	if err == nil {
		resp.Body.Close()
	}
	stack.CheckNotDelegated(t, err)
}
