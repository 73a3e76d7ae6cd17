// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
)

// setEnv sets these variables, and none of the others that ConfigFromEnv reads.
func setEnv(t *testing.T, env map[string]string) {
	t.Helper()
	for _, name := range []string{"AUTHSEC_BASE_URL", "AUTHSEC_AGENT_CLIENT_ID", "DOWNSTREAM_URL", "AUTHSEC_HOSTS", "AUTHSEC_API_TOKEN", "AUTHSEC_API_TOKEN_FILE"} {
		t.Setenv(name, env[name])
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
			[]string{"AUTHSEC_BASE_URL has no https://", "AUTHSEC_AGENT_CLIENT_ID has the character U+0020 ' '", "DOWNSTREAM_URL has no https://", "AUTHSEC_API_TOKEN has white space"}},
		{"password in the base URL", map[string]string{"AUTHSEC_BASE_URL": "https://bob:" + hidden + "@authsec.example.com"}, []string{"AUTHSEC_BASE_URL has a user name or password"}},
		{"password in DOWNSTREAM_URL", map[string]string{"DOWNSTREAM_URL": "https://bob:" + hidden + "@api.example.com"}, []string{"DOWNSTREAM_URL has a user name or password"}},
		{"DOWNSTREAM_URL of another scheme", map[string]string{"DOWNSTREAM_URL": "postgres://bob:" + hidden + "@db"}, []string{"DOWNSTREAM_URL has no https://"}},
		{"DOWNSTREAM_URL's host is no host", map[string]string{"DOWNSTREAM_URL": "https://b\u00fccher.example"}, []string{"DOWNSTREAM_URL", "ASCII"}},
		{"DOWNSTREAM_URL's host is no wildcard", map[string]string{"DOWNSTREAM_URL": "https://*.example.com/"}, []string{"DOWNSTREAM_URL"}},
		{"DOWNSTREAM_URL's host is not every host", map[string]string{"DOWNSTREAM_URL": "https://*/"}, []string{"DOWNSTREAM_URL"}},
		{"AUTHSEC_HOSTS malformed", map[string]string{"AUTHSEC_HOSTS": "good.example.com,https://bad.example.com/v1,u:" + hidden + "@x"}, []string{"AUTHSEC_HOSTS", `"https://bad.example.com/v1" has a path: write "bad.example.com"`, "entry 2", `write "api.example.com"`}},
		{"AUTHSEC_HOSTS of commas", map[string]string{"AUTHSEC_HOSTS": " , ,"}, []string{"AUTHSEC_HOSTS", "empty"}},
		{"token with a line break", map[string]string{"AUTHSEC_API_TOKEN": hidden + "\nX-Admin: 1"}, []string{"AUTHSEC_API_TOKEN has white space"}},
		{"both tokens", map[string]string{"AUTHSEC_API_TOKEN": hidden, "AUTHSEC_API_TOKEN_FILE": "/x"}, []string{"AUTHSEC_API_TOKEN and AUTHSEC_API_TOKEN_FILE are both set"}},
		{"no such file", map[string]string{"AUTHSEC_API_TOKEN_FILE": filepath.Join(dir, "none")}, []string{"AUTHSEC_API_TOKEN_FILE", filepath.Join(dir, "none")}},
		{"a directory", map[string]string{"AUTHSEC_API_TOKEN_FILE": dir}, []string{"AUTHSEC_API_TOKEN_FILE", dir}},
		{"empty file", map[string]string{"AUTHSEC_API_TOKEN_FILE": file("empty", " \n")}, []string{"AUTHSEC_API_TOKEN_FILE", "empty"}},
		{"file with more than a token", map[string]string{"AUTHSEC_API_TOKEN_FILE": file("two", hidden+"\n"+hidden+"\n")}, []string{"AUTHSEC_API_TOKEN_FILE", "something other than one token"}},
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

func TestConfigFromEnvPermitsNoPlainHTTP(t *testing.T) {
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
		src := newSource(t, cfg)
		fetch := func() error {
			time.Sleep(2 * time.Minute) // failures are cached
			_, err := src.Token()
			return err
		}
		fetch()
		write("\tsecond")
		fetch()
		write("a b")
		if err := fetch(); err == nil || !strings.Contains(err.Error(), "something other than one token") {
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
