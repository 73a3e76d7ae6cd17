// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
)

func TestNewSourceNamesWhatIsWrongWithABaseURL(t *testing.T) {
	const example = "https://authsec.example.com"
	for _, tt := range []struct{ base, want string }{
		{"", "is empty: write one like " + example},
		{" \t\n", "is empty: write one like " + example},
		{"authsec.example.com", "no https://"},
		{"//authsec.example.com", "no https://"},
		{"/authsec", "no https://"},
		{"localhost:8080", "no https://"},
		{"10.0.0.1:8080", "not a URL"},
		{"ftp://authsec.example.com", "no https://"},
		{"wss://authsec.example.com", "no https://"},
		{"https:authsec.example.com", "no host"},
		{"https://", "no host"},
		{"https:///path", "no host"},
		{"https://:8443", "no host"},
		{"https://authsec.example.com:port", "not a URL"},
		{"https://authsec.example.com:0", "no valid port"},
		{"https://authsec.example.com:65536", "no valid port"},
		{"https://authsec example.com", "not a URL"},
		{"https://authsec.example.com/%zz", "not a URL"},
		{"https://[2001:db8::1", "not a URL"},
		{"https://authsec.example.com/\x00", "not a URL"},
		{"https://bob@authsec.example.com", "user name or password"},
		{"https://bob:hunter2@authsec.example.com", "user name or password"},
		{"https://:hunter2@authsec.example.com", "user name or password"},
		{"https://bob:hunter2@authsec example.com", "not a URL"},
		{"https://bob:hunter2%zz@authsec.example.com", "not a URL"},
		{"ftp://bob:hunter2@authsec.example.com", "no https://"},
		{"bob:hunter2@authsec.example.com", "no https://"},
		{"https://bob:hunter2@", "user name or password"},
		{"https://bob:1/hunter2@authsec.example.com", "@ after its host"},
		{"https://authsec.example.com?key=hunter2", "a query"},
		{"https://authsec.example.com/?", "a query"},
		{"https://authsec.example.com/#hunter2", "a fragment"},
		{"https://authsec.example.com/#", "a fragment"},
		{"http://authsec.example.com", "plain HTTP"},
		{"http://10.0.0.1:8080", "plain HTTP"},
		{"http://localhost.example.com", "plain HTTP"},
		{"http://127.0.0.1.example.com", "plain HTTP"},
		{"http://0.0.0.0:8080", "plain HTTP"},
		{"HTTP://authsec.example.com", "plain HTTP"},
	} {
		cfg := goodConfig()
		cfg.BaseURL = tt.base
		src, err := authsec.NewSource(cfg)
		if err == nil || src != nil {
			t.Errorf("BaseURL %q: Source: %t, error %v, want none and an error", tt.base, src != nil, err)
			continue
		}
		if got := err.Error(); !strings.HasPrefix(got, "authsec: Config.BaseURL ") || !strings.Contains(got, tt.want) {
			t.Errorf("BaseURL %q: error is %q, want one that names Config.BaseURL, with %q", tt.base, got, tt.want)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("BaseURL with a secret (wanted: %q): the error shows it", tt.want)
		}
		if got, want := errors.Is(err, authsec.ErrInsecureURL), tt.want == "plain HTTP"; got != want {
			t.Errorf("BaseURL %q: errors.Is(err, ErrInsecureURL) = %t, want %t", tt.base, got, want)
		}
	}
}

func TestNewSourceAcceptsEveryUsualBaseURL(t *testing.T) {
	for _, tt := range []struct {
		base      string
		allowHTTP bool
	}{
		{"https://authsec.example.com", false}, {"https://authsec.example.com/", false}, {"https://authsec.example.com///", false}, {"https://authsec.example.com/prefix/", false},
		{"HTTPS://authsec.example.com:8443", false}, {"https://[2001:db8::1]:8443/", false}, {"\n https://authsec.example.com \r\n", false},
		{"http://localhost:8080", false}, {"http://LOCALHOST.", false}, {"http://127.0.0.1:8080", false}, {"http://127.9.9.9", false}, {"http://[::1]:8080", false},
		{"http://authsec.example.com", true}, {"http://10.0.0.1:8080/prefix", true},
	} {
		cfg := goodConfig()
		cfg.BaseURL, cfg.AllowHTTP = tt.base, tt.allowHTTP
		if _, err := authsec.NewSource(cfg); err != nil {
			t.Errorf("BaseURL %q, AllowHTTP %t: %v, want no error", tt.base, tt.allowHTTP, err)
		}
	}
}

func TestNewSourceNamesEachFaultyField(t *testing.T) {
	for _, tt := range []struct {
		edit func(*authsec.Config)
		want string
	}{
		{func(c *authsec.Config) { c.ClientID = "" }, "Config.ClientID is empty"},
		{func(c *authsec.Config) { c.ClientID = " \n" }, "Config.ClientID is empty"},
		{func(c *authsec.Config) { c.ClientID = "a b" }, "Config.ClientID has the character U+"},
		{func(c *authsec.Config) { c.ClientID = "a\r\nX-Admin: 1" }, "Config.ClientID has the character U+"},
		{func(c *authsec.Config) { c.ClientID = "a\u00a0b" }, "Config.ClientID has the character U+"},
		{func(c *authsec.Config) { c.ClientID = "a\x00b" }, "Config.ClientID has the character U+"},
		{func(c *authsec.Config) { c.ClientID = "a\xffb" }, "Config.ClientID is not valid UTF-8"},
		{func(c *authsec.Config) { c.RenewBefore = -1 }, "Config.RenewBefore: -1ns is negative"},
		{func(c *authsec.Config) { c.FetchTimeout = -time.Second }, "Config.FetchTimeout: -1s is negative"},
		{func(c *authsec.Config) { c.Retry.MaxAttempts = -1 }, "Config.Retry.MaxAttempts: -1 is negative"},
		{func(c *authsec.Config) { c.Retry.MinBackoff = -1 }, "Config.Retry.MinBackoff: -1ns is negative"},
		{func(c *authsec.Config) { c.Retry.MaxBackoff = -1 }, "Config.Retry.MaxBackoff: -1ns is negative"},
		{func(c *authsec.Config) { c.Retry.MinBackoff, c.Retry.MaxBackoff = 2, 1 }, "Config.Retry.MinBackoff: 2ns exceeds MaxBackoff"},
		{func(c *authsec.Config) { c.Hosts = []string{"https://api.example.com/v1"} }, `Config.Hosts: "https://api.example.com/v1" has a path: write "api.example.com"`},
	} {
		cfg := goodConfig()
		tt.edit(&cfg)
		for name, construct := range map[string]func(authsec.Config) error{
			"NewSource": func(c authsec.Config) error { _, err := authsec.NewSource(c); return err },
			"NewClient": func(c authsec.Config) error { _, err := authsec.NewClient(c); return err },
		} {
			err := construct(cfg)
			if err == nil || !strings.HasPrefix(err.Error(), "authsec: "+tt.want) {
				t.Errorf("%s: %v, want authsec: %s", name, err, tt.want)
			}
		}
	}
}

func TestConstructionJoinsAllFaults(t *testing.T) {
	_, err := authsec.NewClient(authsec.Config{
		BaseURL: "http://authsec.example.com", ClientID: "a b", RenewBefore: -1, FetchTimeout: -1,
		Retry: authsec.RetryPolicy{MaxAttempts: -1, MinBackoff: -1},
	})
	if err == nil {
		t.Fatal("NewClient: no error")
	}
	for _, want := range []string{"BaseURL", "ClientID", "RenewBefore", "FetchTimeout", "Retry.MaxAttempts", "Retry.MinBackoff", "Hosts is empty"} {
		if !strings.Contains(err.Error(), "authsec: Config."+want) {
			t.Errorf("error is %q, want it to name Config.%s", err, want)
		}
	}
	if !errors.Is(err, authsec.ErrInsecureURL) {
		t.Errorf("errors.Is(%v, ErrInsecureURL) = false, want true", err)
	}
	if got, want := len(strings.Split(err.Error(), "\n")), 7; got != want {
		t.Errorf("%d lines, want one for each of the %d faults: %q", got, want, err)
	}
}

func TestNewClientNeedsHostsAndSaysHowToWriteThem(t *testing.T) {
	for _, list := range [][]string{nil, {}, {""}, {"*", "user:hunter2@api.example.com"}} {
		cfg := goodConfig()
		cfg.Hosts = list
		client, err := authsec.NewClient(cfg)
		if err == nil || client != nil {
			t.Errorf("Hosts %q: client: %t, error %v, want none and an error", list, client != nil, err)
			continue
		}
		for _, want := range []string{"Config.Hosts", `write "api.example.com"`, `"*.example.com"`, `"*"`} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("Hosts %q: error is %q, want %s in it", list, err, want)
			}
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Error("the error shows a password")
		}
	}
}

func TestNewClientIsATransportOverASource(t *testing.T) {
	srv := authsectest.NewServer()
	defer srv.Close()
	srv.Delegate(ourID, authsectest.Delegation{})
	cfg := srv.Config(ourID, "https://api.example.com/x")
	cfg.Logger = slog.New(slog.DiscardHandler)
	client, err := authsec.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if srv.Fetches() != 0 {
		t.Errorf("NewClient made %d requests, want none", srv.Fetches())
	}
	cfg.Hosts[0] = "evil.example" // later changes have no effect
	tr, ok := client.Transport.(*authsec.Transport)
	if !ok {
		t.Fatalf("Transport is a %T, want an *authsec.Transport", client.Transport)
	}
	if _, ok := tr.Source.(*authsec.Source); !ok {
		t.Errorf("Transport.Source is a %T, want an *authsec.Source", tr.Source)
	}
	if want := []string{"api.example.com"}; !reflect.DeepEqual(tr.Hosts, want) || tr.Logger != cfg.Logger || tr.Retry != (authsec.RetryPolicy{}) {
		t.Errorf("Transport has Hosts %q, Retry %v, want %q and defaults", tr.Hosts, tr.Retry, want)
	}
	if base, ok := tr.Base.(*http.Transport); !ok || base.HTTP2 == nil || base.HTTP2.SendPingTimeout == 0 || base == http.DefaultTransport {
		t.Errorf("Transport.Base is a %T, want a copy of http.DefaultTransport that notices dead connections", tr.Base)
	}
	if client.CheckRedirect != nil || client.Jar != nil || client.Timeout != 0 {
		t.Errorf("client is no plain one: %+v", client)
	}
}

// FuzzBaseURL: an accepted base URL leads to the host that it names and to the
// endpoint's path, and never over plain HTTP to another machine.
func FuzzBaseURL(f *testing.F) {
	for _, s := range []string{"https://authsec.example.com", "https://authsec.example.com/a%2Fb//", "http://localhost:8080/x", "http://127.1", "http://[::1]:80/..", "https://[fe80::1%25lo]/",
		"https://bob:hunter2@authsec.example.com", "https://bob:hunter2@a b", "https://a?key=hunter2", "https://a/?", "https://a/#", "https://a/../../b", "HTTP://LOCALHOST.", "//a", "a:1", "", " https://a/ ",
		"https://a:", "https://a:0", "https://a/%", "https://a\\@b", "https://b\u00fccher.example", "http://localhost@evil.example", "https://a;b/c;d", "https://" + ourID + ".example.com/" + ourID} {
		f.Add(s, false)
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, s string, allowHTTP bool) {
		asked := &asking{}
		cfg := authsec.Config{BaseURL: s, ClientID: ourID, AllowHTTP: allowHTTP, HTTPClient: &http.Client{Transport: asked}, Retry: authsec.RetryPolicy{MaxAttempts: 1}}
		if text := fmt.Sprintf("%v %+v %#v", cfg, cfg, &cfg); holdsSecret(text, ourID) || strings.Contains(s, "@") && strings.Contains(text, "hunter2") {
			t.Fatalf("the formatted Config of BaseURL %q shows a secret", s)
		}
		src, err := authsec.NewSource(cfg)
		if err != nil {
			if strings.ContainsAny(s, "@?#") && strings.Contains(err.Error(), "hunter2") {
				t.Fatalf("BaseURL %q: the error shows a secret", s)
			}
			if !strings.HasPrefix(err.Error(), "authsec: Config.BaseURL ") {
				t.Fatalf("BaseURL %q: error is %q, want it to name the field", s, err)
			}
			return
		}
		u, err := url.Parse(strings.TrimSpace(s))
		if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http" {
			t.Fatalf("BaseURL %q was accepted", s)
		}
		if u.Scheme == "http" && !allowHTTP {
			host := strings.TrimSuffix(u.Hostname(), ".")
			if addr, err := netip.ParseAddr(host); !strings.EqualFold(host, "localhost") && (err != nil || !addr.Unmap().IsLoopback()) {
				t.Fatalf("BaseURL %q was accepted over plain HTTP", s)
			}
		}
		if _, err := src.Token(); err == nil || holdsSecret(err.Error(), ourID) {
			t.Fatalf("BaseURL %q: no error, or one with the client ID in full", s)
		}
		if asked.url == nil {
			return // no transport could have asked
		}
		if got := asked.url; got.Scheme != u.Scheme || got.Host != strings.TrimSuffix(u.Host, ":") || got.User != nil || got.RawQuery != "client_id="+ourID || got.Fragment != "" || !strings.HasSuffix(got.EscapedPath(), "/authsec/uflow/sdk/delegation-token") {
			t.Fatalf("BaseURL %q: asked %s", s, strings.ReplaceAll(got.String(), ourID, "(ID)"))
		}
	})
}

// asking records the URL of a request, and fails.
type asking struct{ url *url.URL }

func (a *asking) RoundTrip(req *http.Request) (*http.Response, error) {
	a.url = req.URL
	return nil, fmt.Errorf("no way to %s", req.URL)
}
