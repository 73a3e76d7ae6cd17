// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package hosts

import (
	"errors"
	"net/http"
	"net/url"
	"os"
	"testing"
)

// TestMain sets a proxy for http.ProxyFromEnvironment, which reads the
// environment once.
func TestMain(m *testing.M) {
	for _, name := range []string{"NO_PROXY", "no_proxy", "http_proxy", "REQUEST_METHOD"} {
		os.Unsetenv(name)
	}
	os.Setenv("HTTP_PROXY", "http://proxy.test:3128")
	os.Exit(m.Run())
}

// foreign is a RoundTripper of which nothing is known.
type foreign struct{ http.RoundTripper }

func TestDirectFollowsTheProxyOfATransport(t *testing.T) {
	proxy := &url.URL{Scheme: "http", Host: "proxy.test:3128"}
	for _, tt := range []struct {
		claim string
		base  http.RoundTripper
		want  bool
	}{
		{"no proxy", &http.Transport{}, true},
		{"a Proxy that returns none", &http.Transport{Proxy: func(*http.Request) (*url.URL, error) { return nil, nil }}, true},
		{"a proxy", &http.Transport{Proxy: http.ProxyURL(proxy)}, false},
		{"an error", &http.Transport{Proxy: func(*http.Request) (*url.URL, error) { return nil, errors.New("no") }}, false},
		{"a proxy and an error", &http.Transport{Proxy: func(*http.Request) (*url.URL, error) { return proxy, errors.New("no") }}, false},
		{"a panic", &http.Transport{Proxy: func(*http.Request) (*url.URL, error) { panic("no") }}, false},
		{"the environment's", &http.Transport{Proxy: http.ProxyFromEnvironment}, false},
		{"the default transport", nil, false},
		{"a nil *http.Transport", (*http.Transport)(nil), false},
		{"another RoundTripper", foreign{&http.Transport{}}, false},
	} {
		if got := Direct(tt.base)(hostRequest(t, "http://api.example.com/")); got != tt.want {
			t.Errorf("%s: Direct = %t, want %t", tt.claim, got, tt.want)
		}
	}
}

func TestDirectOfNilIsTheDefaultTransports(t *testing.T) {
	defer func(old http.RoundTripper) { http.DefaultTransport = old }(http.DefaultTransport)
	http.DefaultTransport = &http.Transport{}
	if !Direct(nil)(hostRequest(t, "http://api.example.com/")) {
		t.Error("Direct(nil) = false, want true: http.DefaultTransport has no proxy")
	}
}

// TestDirectKnowsWhatTheEnvironmentExempts compares the rule for foreign
// RoundTrippers with http.ProxyFromEnvironment.
func TestDirectKnowsWhatTheEnvironmentExempts(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "127.0.0.1": true, "127.9.9.9": true, "[::1]": true, "[0:0::1]": true, "[::ffff:127.0.0.1]": true, "[::1%25lo]": true,
		"LOCALHOST": false, "Localhost": false, "localhost.": false, "127.0.0.1.": false, "127.1": false, "x.localhost": false, "0.0.0.0": false, "10.0.0.1": false, "[::]": false,
		"api.example.com": false, "localhost.example.com": false,
	} {
		for _, port := range []string{"", ":9", ":80"} {
			req := hostRequest(t, "http://"+host+port+"/")
			proxy, err := http.ProxyFromEnvironment(req)
			if err != nil || (proxy == nil) != want {
				t.Fatalf("ProxyFromEnvironment(%s) = %v, %v, want a proxy: %t", req.URL, proxy, err, !want)
			}
			for name, base := range map[string]http.RoundTripper{"foreign": foreign{}, "default": http.DefaultTransport} {
				if got := Direct(base)(req); got != want {
					t.Errorf("%s base: Direct(%s) = %t, want %t", name, req.URL, got, want)
				}
			}
		}
	}
}

func TestCheckSendsPlainHTTPThroughProxiesOnlyIfListed(t *testing.T) {
	for _, tt := range []struct {
		patterns, url, host string
		viaProxy, direct    Verdict
	}{
		{"localhost:9", "http://localhost:9/", "", Insecure, Send},
		{"localhost:9", "http://LOCALHOST:9/", "", Insecure, Send},
		{"localhost:9", "http://localhost.:9/", "localhost.:9", Insecure, Send},
		{"*", "http://127.0.0.1:9/", "127.0.0.1:9", Insecure, Send},
		{"127.0.0.1", "http://127.0.0.1./", "", Insecure, Insecure},
		{"http://localhost:9", "http://LOCALHOST:9/", "", Send, Send},
		{"http://orders.svc", "http://orders.svc/", "ORDERS.svc.:80", Send, Send},
		{"http://[2001:db8::1]", "http://[2001:db8::1]/", "[2001:DB8:0::1]", Send, Send},
		{"orders.svc", "http://orders.svc/", "orders.svc", Insecure, Insecure},
		// Request.Host names another place, and a proxy would go there.
		{"http://orders.svc", "http://orders.svc/", "evil.example", Withhold, Send},
		{"http://orders.svc", "http://orders.svc/", "orders.svc:8080", Withhold, Send},
		{"http://orders.svc", "http://orders.svc/", "orders.svc/@evil", Withhold, Send},
		{"http://orders.svc", "http://orders.svc/", "evil@orders.svc", Withhold, Send},
		{"http://orders.svc", "http://orders.svc/", "[orders.svc]", Withhold, Send},
		{"localhost:9", "http://localhost:9/", "evil.example", Withhold, Send},
		{"http://localhost:9", "http://localhost:9/", "127.0.0.1:9", Withhold, Send},
		{"orders.svc", "http://orders.svc/", "evil.example", Withhold, Insecure},
		{"orders.svc", "https://orders.svc/", "evil.example", Send, Send},
	} {
		req := hostRequest(t, tt.url)
		req.Host = tt.host
		l := hostList(t, tt.patterns)
		if got := l.Check(req, viaProxy); got != tt.viaProxy {
			t.Errorf("proxy, Hosts %q: Check(%s, Host %q) = %s, want %s", tt.patterns, tt.url, tt.host, got.name(), tt.viaProxy.name())
		}
		if got := l.Check(req, viaNone); got != tt.direct {
			t.Errorf("no proxy, Hosts %q: Check(%s, Host %q) = %s, want %s", tt.patterns, tt.url, tt.host, got.name(), tt.direct.name())
		}
	}
}

func TestCheckWithholdsFromOpaqueURLsOverPlainHTTP(t *testing.T) {
	l := hostList(t, "http://orders.svc", "orders.svc")
	for scheme, want := range map[string]Verdict{"http": Withhold, "https": Send} {
		req := &http.Request{URL: &url.URL{Scheme: scheme, Host: "orders.svc", Opaque: "//evil.example/x"}}
		if got := l.Check(req, viaNone); got != want {
			t.Errorf("Check(%s) = %s, want %s", req.URL, got.name(), want.name())
		}
	}
}

func TestLoopbackIsThisMachineOnly(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LocalHost": true, "localhost.": true, "127.0.0.1": true, "127.255.0.9": true, "::1": true, "0:0::1": true, "::ffff:127.0.0.1": true,
		"": false, ".": false, "localhost..": false, "x.localhost": false, "localhost.example.com": false, "loca1host": false, "127.0.0.1.example.com": false,
		"127.1": false, "127.0.0.1.": false, "0.0.0.0": false, "::": false, "10.0.0.1": false, "[::1]": false, "loca\u017fhost": false, "localho\u017ft": false,
	} {
		if got := Loopback(host); got != want {
			t.Errorf("Loopback(%q) = %t, want %t", host, got, want)
		}
	}
}

func TestLocalIsLoopbackWithoutAProxy(t *testing.T) {
	none, some := &http.Transport{}, &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: "proxy.test"})}
	for _, tt := range []struct {
		url  string
		base http.RoundTripper
		want bool
	}{
		{"http://localhost:9", nil, true}, {"http://localhost:9", foreign{}, true}, {"http://localhost:9", none, true}, {"http://localhost:9", some, false},
		{"http://LOCALHOST.:9", nil, false}, {"http://LOCALHOST.:9", foreign{}, false}, {"http://LOCALHOST.:9", none, true},
		{"http://api.example.com", none, false}, {"http://10.0.0.1", none, false},
	} {
		if got := Local(hostRequest(t, tt.url).URL, tt.base); got != tt.want {
			t.Errorf("Local(%s, %T) = %t, want %t", tt.url, tt.base, got, tt.want)
		}
	}
}
