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
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"golang.org/x/oauth2"
)

func goodConfig() authsec.Config {
	return authsec.Config{BaseURL: "https://authsec.example.com", ClientID: ourID, Hosts: []string{"api.example.com"}}
}

func TestNewSourceRefusesWhatIsNoBaseURL(t *testing.T) {
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
		{func(c *authsec.Config) { c.ClientID = "a b" }, "Config.ClientID has white space inside"},
		{func(c *authsec.Config) { c.ClientID = "a\r\nX-Admin: 1" }, "Config.ClientID has white space inside"},
		{func(c *authsec.Config) { c.ClientID = "a\u00a0b" }, "Config.ClientID has white space inside"},
		{func(c *authsec.Config) { c.ClientID = "a\x00b" }, "Config.ClientID has a control character"},
		{func(c *authsec.Config) { c.ClientID = "a\xffb" }, "Config.ClientID is not valid UTF-8"},
		{func(c *authsec.Config) { c.RenewBefore = -1 }, "Config.RenewBefore: -1ns is negative"},
		{func(c *authsec.Config) { c.FetchTimeout = -time.Second }, "Config.FetchTimeout: -1s is negative"},
		{func(c *authsec.Config) { c.Retry.MaxAttempts = -1 }, "Config.Retry.MaxAttempts: -1 is negative"},
		{func(c *authsec.Config) { c.Retry.MinBackoff = -1 }, "Config.Retry.MinBackoff: -1ns is negative"},
		{func(c *authsec.Config) { c.Retry.MaxBackoff = -1 }, "Config.Retry.MaxBackoff: -1ns is negative"},
		{func(c *authsec.Config) { c.Retry.MinBackoff, c.Retry.MaxBackoff = 2, 1 }, "Config.Retry.MinBackoff: 2ns exceeds MaxBackoff"},
		{func(c *authsec.Config) { c.Hosts = []string{"https://api.example.com"} }, `Config.Hosts: "https://api.example.com"`},
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
	for _, list := range [][]string{nil, {}, {""}, {"api.example.com/"}, {"*", "user:hunter2@api.example.com"}} {
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
	if want := []string{"api.example.com"}; !reflect.DeepEqual(tr.Hosts, want) || tr.Logger != cfg.Logger || tr.Base != nil || tr.Retry != (authsec.RetryPolicy{}) {
		t.Errorf("Transport has Hosts %q, Base %v, Retry %v, want %q and defaults", tr.Hosts, tr.Base, tr.Retry, want)
	}
	if client.CheckRedirect != nil || client.Jar != nil || client.Timeout != 0 {
		t.Errorf("client is no plain one: %+v", client)
	}
}

func TestClientSendsTheTokenInThreeLines(t *testing.T) {
	srv := authsectest.NewServer()
	defer srv.Close()
	srv.Delegate(ourID, authsectest.Delegation{Permissions: []string{"billing:read"}})
	api := newAPI(t, srv.API(nil, "billing:read"))
	setEnv(t, map[string]string{"AUTHSEC_BASE_URL": srv.URL, "AUTHSEC_AGENT_CLIENT_ID": ourID, "DOWNSTREAM_URL": api + "/customers"})
	cfg, err := authsec.ConfigFromEnv()
	if err != nil {
		t.Fatal(err)
	}
	client, err := authsec.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Get(api + "/customers/42")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("status %d, want 200", resp.StatusCode)
	}
	client.CloseIdleConnections()
}

// setEnv sets these variables, and none of the others that ConfigFromEnv reads.
func setEnv(t *testing.T, env map[string]string) {
	t.Helper()
	for _, name := range []string{"AUTHSEC_BASE_URL", "AUTHSEC_AGENT_CLIENT_ID", "DOWNSTREAM_URL", "AUTHSEC_HOSTS", "AUTHSEC_API_TOKEN", "AUTHSEC_API_TOKEN_FILE"} {
		t.Setenv(name, env[name])
	}
}

func TestConfigFromEnvReadsTheEnvironment(t *testing.T) {
	for _, tt := range []struct {
		claim string
		env   map[string]string
		hosts []string
		token string
	}{
		{"base URL and ID", nil, nil, ""},
		{"DOWNSTREAM_URL's host", map[string]string{"DOWNSTREAM_URL": "https://billing.example.com/v1?x=y#z"}, []string{"billing.example.com"}, ""},
		{"DOWNSTREAM_URL's port", map[string]string{"DOWNSTREAM_URL": " https://billing.example.com:8443/v1\n"}, []string{"billing.example.com:8443"}, ""},
		{"DOWNSTREAM_URL on loopback", map[string]string{"DOWNSTREAM_URL": "http://127.0.0.1:9000"}, []string{"127.0.0.1:9000"}, ""},
		{"DOWNSTREAM_URL with an IPv6 address", map[string]string{"DOWNSTREAM_URL": "https://[2001:db8::1]:8443/"}, []string{"[2001:db8::1]:8443"}, ""},
		{"AUTHSEC_HOSTS", map[string]string{"AUTHSEC_HOSTS": " api.example.com , *.example.org:8443,,http://orders.prod.svc:8080,"}, []string{"api.example.com", "*.example.org:8443", "http://orders.prod.svc:8080"}, ""},
		{"AUTHSEC_HOSTS goes before DOWNSTREAM_URL", map[string]string{"AUTHSEC_HOSTS": "*", "DOWNSTREAM_URL": "https://billing.example.com"}, []string{"*"}, ""},
		{"a blank AUTHSEC_HOSTS is not set", map[string]string{"AUTHSEC_HOSTS": " ", "DOWNSTREAM_URL": "https://billing.example.com"}, []string{"billing.example.com"}, ""},
		{"AUTHSEC_API_TOKEN", map[string]string{"AUTHSEC_API_TOKEN": " caller\n"}, nil, "caller"},
	} {
		t.Run(tt.claim, func(t *testing.T) {
			env := map[string]string{"AUTHSEC_BASE_URL": " https://authsec.example.com/\n", "AUTHSEC_AGENT_CLIENT_ID": "\t" + ourID + "\r\n"}
			for k, v := range tt.env {
				env[k] = v
			}
			setEnv(t, env)
			cfg, err := authsec.ConfigFromEnv()
			if err != nil {
				t.Fatal(err)
			}
			if cfg.BaseURL != "https://authsec.example.com/" || cfg.ClientID != ourID || !reflect.DeepEqual(cfg.Hosts, tt.hosts) {
				t.Errorf("Config is %v, want Hosts %q and the rest trimmed", cfg, tt.hosts)
			}
			if (cfg.Credential != nil) != (tt.token != "") {
				t.Fatalf("Credential: %t, want %t", cfg.Credential != nil, tt.token != "")
			}
			if tt.token != "" {
				if token, err := cfg.Credential.Token(); err != nil || token.AccessToken != tt.token || token.Type() != "Bearer" {
					t.Errorf("Credential gives another token, or error %v", err)
				}
			}
			if _, err := authsec.NewSource(cfg); err != nil {
				t.Errorf("NewSource: %v", err)
			}
		})
	}
}

func TestConfigFromEnvNamesAllThatIsMissingOrMalformed(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const hidden = "hunter2"
	for _, tt := range []struct {
		claim string
		env   map[string]string
		want  []string // each is in the error
	}{
		{"nothing set", map[string]string{"AUTHSEC_BASE_URL": "", "AUTHSEC_AGENT_CLIENT_ID": ""}, []string{"AUTHSEC_BASE_URL is not set", "AUTHSEC_AGENT_CLIENT_ID is not set"}},
		{"blanks", map[string]string{"AUTHSEC_BASE_URL": " ", "AUTHSEC_AGENT_CLIENT_ID": "\n"}, []string{"AUTHSEC_BASE_URL is not set", "AUTHSEC_AGENT_CLIENT_ID is not set"}},
		{"all malformed", map[string]string{"AUTHSEC_BASE_URL": "authsec", "AUTHSEC_AGENT_CLIENT_ID": "a b", "DOWNSTREAM_URL": "billing", "AUTHSEC_API_TOKEN": "a b"},
			[]string{"AUTHSEC_BASE_URL has no https://", "AUTHSEC_AGENT_CLIENT_ID has white space", "DOWNSTREAM_URL has no https://", "AUTHSEC_API_TOKEN has white space"}},
		{"password in the base URL", map[string]string{"AUTHSEC_BASE_URL": "https://bob:" + hidden + "@authsec.example.com"}, []string{"AUTHSEC_BASE_URL has a user name or password"}},
		{"password in DOWNSTREAM_URL", map[string]string{"DOWNSTREAM_URL": "https://bob:" + hidden + "@api.example.com"}, []string{"DOWNSTREAM_URL has a user name or password"}},
		{"DOWNSTREAM_URL of another scheme", map[string]string{"DOWNSTREAM_URL": "postgres://bob:" + hidden + "@db"}, []string{"DOWNSTREAM_URL has no https://"}},
		{"DOWNSTREAM_URL's host is no host", map[string]string{"DOWNSTREAM_URL": "https://b\u00fccher.example"}, []string{"DOWNSTREAM_URL", "ASCII"}},
		{"DOWNSTREAM_URL's host is no wildcard", map[string]string{"DOWNSTREAM_URL": "https://*.example.com/"}, []string{"DOWNSTREAM_URL"}},
		{"DOWNSTREAM_URL's host is not every host", map[string]string{"DOWNSTREAM_URL": "https://*/"}, []string{"DOWNSTREAM_URL"}},
		{"AUTHSEC_HOSTS malformed", map[string]string{"AUTHSEC_HOSTS": "good.example.com,https://bad.example.com,u:" + hidden + "@x"}, []string{"AUTHSEC_HOSTS", `"https://bad.example.com"`, "entry 2", `write "api.example.com"`}},
		{"AUTHSEC_HOSTS of commas", map[string]string{"AUTHSEC_HOSTS": " , ,"}, []string{"AUTHSEC_HOSTS", "empty"}},
		{"token with a line break", map[string]string{"AUTHSEC_API_TOKEN": hidden + "\nX-Admin: 1"}, []string{"AUTHSEC_API_TOKEN has white space"}},
		{"both tokens", map[string]string{"AUTHSEC_API_TOKEN": hidden, "AUTHSEC_API_TOKEN_FILE": "/x"}, []string{"AUTHSEC_API_TOKEN and AUTHSEC_API_TOKEN_FILE are both set"}},
		{"no such file", map[string]string{"AUTHSEC_API_TOKEN_FILE": filepath.Join(dir, "none")}, []string{"AUTHSEC_API_TOKEN_FILE", filepath.Join(dir, "none")}},
		{"a directory", map[string]string{"AUTHSEC_API_TOKEN_FILE": dir}, []string{"AUTHSEC_API_TOKEN_FILE", dir}},
		{"empty file", map[string]string{"AUTHSEC_API_TOKEN_FILE": file("empty", " \n")}, []string{"AUTHSEC_API_TOKEN_FILE", "empty"}},
		{"file with more than a token", map[string]string{"AUTHSEC_API_TOKEN_FILE": file("two", hidden+"\n"+hidden+"\n")}, []string{"AUTHSEC_API_TOKEN_FILE", "something else than one token"}},
	} {
		t.Run(tt.claim, func(t *testing.T) {
			env := map[string]string{"AUTHSEC_BASE_URL": "https://authsec.example.com", "AUTHSEC_AGENT_CLIENT_ID": ourID}
			for k, v := range tt.env {
				env[k] = v
			}
			setEnv(t, env)
			_, err := authsec.ConfigFromEnv()
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error is %q, want %q in it", err, want)
				}
			}
			if strings.Contains(err.Error(), hidden) || strings.Contains(err.Error(), ourID) {
				t.Error("the error shows a secret")
			}
		})
	}
}

func TestConfigFromEnvLeavesPlainHTTPToAllowHTTP(t *testing.T) {
	setEnv(t, map[string]string{"AUTHSEC_BASE_URL": "http://authsec.svc:8080", "AUTHSEC_AGENT_CLIENT_ID": ourID})
	cfg, err := authsec.ConfigFromEnv()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := authsec.NewSource(cfg); !errors.Is(err, authsec.ErrInsecureURL) {
		t.Errorf("NewSource: %v, want ErrInsecureURL", err)
	}
	cfg.AllowHTTP = true
	if _, err := authsec.NewSource(cfg); err != nil {
		t.Errorf("NewSource with AllowHTTP: %v, want no error", err)
	}
}

func TestTokenFileIsReadForEachFetch(t *testing.T) {
	var got []string
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Get("Authorization"))
		authsectest.Answer(http.StatusUnauthorized, `{"error":"expired"}`).ServeHTTP(w, r)
	})
	path := filepath.Join(t.TempDir(), "token")
	write := func(s string) {
		t.Helper()
		// As Kubernetes does: a new file in place of the old.
		if err := os.WriteFile(path+".new", []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write("first\n")
	setEnv(t, map[string]string{"AUTHSEC_BASE_URL": "https://authsec.test", "AUTHSEC_AGENT_CLIENT_ID": ourID, "AUTHSEC_API_TOKEN_FILE": " " + path + " "})
	cfg, err := authsec.ConfigFromEnv()
	if err != nil {
		t.Fatal(err)
	}
	cfg.HTTPClient = &http.Client{Transport: authsectest.RoundTripper(h)}
	inBubble(t, "fetches", func(t *testing.T) {
		src, err := authsec.NewSource(cfg)
		if err != nil {
			t.Fatal(err)
		}
		fetch := func() error {
			time.Sleep(2 * time.Minute) // failures are remembered
			_, err := src.Token()
			return err
		}
		fetch()
		write("\tsecond")
		fetch()
		write("a b")
		if err := fetch(); err == nil || !strings.Contains(err.Error(), "something else than one token") {
			t.Errorf("a file with two words: %v, want an error that says so", err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := fetch(); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), path) {
			t.Errorf("no file: %v, want os.ErrNotExist and its name", err)
		}
		write("third")
		fetch()
	})
	if want := []string{"Bearer first", "Bearer second", "Bearer third"}; !reflect.DeepEqual(got, want) {
		t.Errorf("Authorization of the fetches is %q, want %q", got, want)
	}
}

// newAPI serves h on a loopback address until the test ends.
func newAPI(t *testing.T, h http.Handler) (url string) {
	t.Helper()
	srv := newLoopback(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

// FuzzBaseURL: what is accepted leads to the host that it names, with the
// endpoint's path at the end, and never over plain HTTP to another machine.
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

// asking notes what is asked for, and fails.
type asking struct{ url *url.URL }

func (a *asking) RoundTrip(req *http.Request) (*http.Response, error) {
	a.url = req.URL
	return nil, fmt.Errorf("no way to %s", req.URL)
}

var _ oauth2.TokenSource = (*authsec.Source)(nil)
