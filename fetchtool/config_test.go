// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package fetchtool_test

import (
	"errors"
	"math"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/fetchtool"
)

func TestNewNamesAllFaultsAtOnce(t *testing.T) {
	_, err := fetchtool.New(fetchtool.Config{
		Name: "no spaces", Methods: []string{"GET", "CONNECT", "get"}, Permissions: []string{""},
		MaxAnswer: -1, MaxBody: -1, Timeout: -1, AuthSec: authsec.Config{ClientID: "x", RenewBefore: -1},
	})
	if err == nil {
		t.Fatal("got no error, want all faults")
	}
	wantIn(t, err.Error(), "fetchtool: Config.Name", "fetchtool: Config.Methods: \"CONNECT\"", "Config.Methods: \"get\"", "fetchtool: Config.Permissions",
		"fetchtool: Config.MaxAnswer", "fetchtool: Config.MaxBody", "fetchtool: Config.Timeout", "fetchtool: Config.DownstreamURLs is empty",
		"fetchtool: Config.AuthSec: authsec: Config.BaseURL", "Config.RenewBefore")
}

func TestNewRefusesDownstreamURLs(t *testing.T) {
	for url, want := range map[string]string{
		"":                                      "is empty (in the environment: DOWNSTREAM_URL)",
		"api.example.com":                       "does not begin with https:// (",
		"ftp://api.example.com":                 "does not begin with https:// (",
		"https://":                              "has no valid host",
		"https://user:hunter2@api.example.com":  "user name or password",
		"https://user:hunt/er2@api.example.com": "has no valid port",
		"https://user/hunter2@api.example.com/v1": "has an @ after its host",
		"https://api.example.com/v1?key=hunter2":  "has a query or a fragment",
		"https://api.example.com/v1#x":            "has a query or a fragment",
		"https://api.example.com/%2e%2e/v1":       "not permitted",
		"https://bücher.example":                  "xn--",
		"https://*.example.com":                   "has no valid host",
		"https://10.0.0":                          "IP address",
		"https://[::1":                            "has no valid IPv6",
		"https://api.example.com:0":               "has no valid port",
		"http://api.example.com":                  "plain HTTP",
	} {
		_, err := fetchtool.New(fetchtool.Config{AuthSec: authsectest.NewInMemoryServer().Config(authsectest.ClientID), DownstreamURLs: []string{"https://ok.example.com", url}})
		if err == nil {
			t.Errorf("%q: got no error, want one", url)
			continue
		}
		wantIn(t, err.Error(), "fetchtool: Config.DownstreamURLs[1]", want)
		if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "er2") {
			t.Errorf("%q: got %q, want no password in it", url, err)
		}
		if plain := strings.HasPrefix(url, "http://"); plain != errors.Is(err, authsec.ErrInsecureURL) {
			t.Errorf("%q: got %v, want it to be ErrInsecureURL: %t", url, err, plain)
		}
	}
}

func TestNewRefusesLimitsThatOverflow(t *testing.T) {
	for name, set := range map[string]func(*fetchtool.Config, int){
		"MaxAnswer": func(c *fetchtool.Config, n int) { c.MaxAnswer = n },
		"MaxBody":   func(c *fetchtool.Config, n int) { c.MaxBody = n },
	} {
		for n, want := range map[int]string{math.MaxInt: "is more than", 64<<20 + 1: "is more than", 64 << 20: "", -1: "is negative"} {
			cfg := fetchtool.Config{AuthSec: authsectest.NewInMemoryServer().Config(authsectest.ClientID), DownstreamURLs: []string{"https://api.test/v1"}}
			set(&cfg, n)
			_, err := fetchtool.New(cfg)
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), name+": ") || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s of %d: got %v, want %q", name, n, err, want)
			}
		}
	}
}

// TestThreeLinesFromTheEnvironment has the values that AuthSec's Python tool takes.
func TestThreeLinesFromTheEnvironment(t *testing.T) {
	s, api := newServers(t, text("ok"), nil)
	t.Setenv("AUTHSEC_BASE_URL", s.URL)
	t.Setenv("AUTHSEC_AGENT_CLIENT_ID", authsectest.ClientID)
	t.Setenv("DOWNSTREAM_URL", api.URL+"/v1")
	cfg, err := authsec.ConfigFromEnv()
	if err != nil {
		t.Fatal(err)
	}
	tool, err := fetchtool.New(fetchtool.Config{AuthSec: cfg, DownstreamURLs: []string{os.Getenv("DOWNSTREAM_URL")}})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := tool.Call(callContext(t), "/customers/42"); err != nil || got != "ok" {
		t.Errorf("got %q, %v, want ok", got, err)
	}
}

func TestPlainHTTPIsPermittedOnlyByName(t *testing.T) {
	base := new(ledger)
	s := newStack(t, base, func(c *fetchtool.Config) {
		c.AllowHTTP, c.DownstreamURLs = true, []string{"http://orders.prod.svc:8080/v1"}
	})
	if got := s.call(t, "x"); got != "ok" {
		t.Fatalf("got %q, want ok", got)
	}
	if sent := base.requests(); sent[0] != "GET http://orders.prod.svc:8080/v1/x" || base.auth[0] != "Bearer "+s.token {
		t.Errorf("got the request %q, want it over plain HTTP with the token", sent)
	}
	s.fail(t, fetchtool.Request{URL: "https://orders.prod.svc:8080/v1/x"}, fetchtool.URLRefused)
}

func TestPlainHTTPToLoopbackTakesNoProxy(t *testing.T) {
	proxied := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: "proxy.test"})}
	for _, tc := range []struct {
		claim     string
		base      http.RoundTripper
		allowHTTP bool
		want      error
	}{
		{"the default transport", nil, false, nil},
		{"a transport without a proxy", new(http.Transport), false, nil},
		{"another RoundTripper", new(ledger), false, nil},
		{"a transport with a proxy", proxied, false, authsec.ErrInsecureURL},
		{"a proxy, and AllowHTTP", proxied, true, nil},
	} {
		_, err := fetchtool.New(fetchtool.Config{AuthSec: authsectest.NewInMemoryServer().Config(authsectest.ClientID),
			DownstreamURLs: []string{"http://localhost:8080/v1"}, Base: tc.base, AllowHTTP: tc.allowHTTP})
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", tc.claim, err, tc.want)
		}
	}
}

func TestSourceOrAuthSec(t *testing.T) {
	srv := authsectest.NewInMemoryServer()
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	src, err := authsec.NewSource(srv.Config(authsectest.ClientID))
	if err != nil {
		t.Fatal(err)
	}
	urls := []string{"https://api.example.com"}
	_, err = fetchtool.New(fetchtool.Config{Source: src, AuthSec: srv.Config(authsectest.ClientID), DownstreamURLs: urls})
	if err == nil || !strings.Contains(err.Error(), "both set") {
		t.Errorf("both: got %v, want an error", err)
	}
	_, err = fetchtool.New(fetchtool.Config{DownstreamURLs: urls})
	if err == nil || !strings.Contains(err.Error(), "Config.AuthSec is empty") {
		t.Errorf("none: got %v, want an error", err)
	}
	for range 2 { // two tools with one source
		tool, err := fetchtool.New(fetchtool.Config{Source: src, DownstreamURLs: urls, Base: new(ledger)})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := tool.Call(callContext(t), "x"); err != nil || got != "ok" {
			t.Errorf("got %q, %v, want ok", got, err)
		}
	}
	if n := srv.Fetches(); n != 1 {
		t.Errorf("got %d fetches of a token, want 1", n)
	}
}

// TestHostsOfAuthSecAreNotUsed: the token goes to the downstream hosts alone.
func TestHostsOfAuthSecAreNotUsed(t *testing.T) {
	base := new(ledger)
	s := newStack(t, base, func(c *fetchtool.Config) { c.AuthSec.Hosts = []string{"*"} })
	s.fail(t, fetchtool.Request{URL: "https://other.example.com/v1"}, fetchtool.URLRefused)
	s = newStack(t, base, func(c *fetchtool.Config) { c.AuthSec.Hosts = []string{"other.example.com"} })
	if s.call(t, "x"); base.auth[0] != "Bearer "+s.token {
		t.Error("the request lacks the token, want it: its host is a downstream one")
	}
}

func TestNewIsNotChangedLater(t *testing.T) {
	base := new(ledger)
	urls, permissions := []string{"https://api.example.com/v1"}, []string{"billing:read"}
	s := newStack(t, base, func(c *fetchtool.Config) { c.DownstreamURLs, c.Permissions = urls, permissions })
	urls[0], permissions[0] = "https://evil.test", "users:write"
	s.fail(t, fetchtool.Request{URL: "https://evil.test/"}, fetchtool.URLRefused)
	if got := s.call(t, "x"); got != "ok" {
		t.Errorf("got %q, want ok", got)
	}
}
