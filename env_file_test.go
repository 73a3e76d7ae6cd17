// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package authsec_test

import (
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/authsec-go/authsec"
)

// A token file is read again for each fetch. A file that may block, or can be read only
// once, is an error and is not opened. Kubernetes mounts links to regular files.
func TestTokenFileMustBeReadableAgain(t *testing.T) {
	dir := t.TempDir()
	pipe, file, link := filepath.Join(dir, "pipe"), filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := errors.Join(syscall.Mkfifo(pipe, 0o600), os.WriteFile(file, []byte("token\n"), 0o600), os.Symlink(file, link)); err != nil {
		t.Fatal(err)
	}
	for path, ok := range map[string]bool{pipe: false, "/dev/zero": false, "/dev/stdin": false, dir: false, file: true, link: true} {
		setEnv(t, map[string]string{"AUTHSEC_BASE_URL": "https://authsec.example.com", "AUTHSEC_AGENT_CLIENT_ID": ourID, "AUTHSEC_API_TOKEN_FILE": path})
		_, err := authsec.ConfigFromEnv() // would block in opening the pipe, and never end with /dev/zero
		if (err == nil) != ok || err != nil && (!strings.Contains(err.Error(), "AUTHSEC_API_TOKEN_FILE") || !strings.Contains(err.Error(), "not a regular file")) {
			t.Errorf("%s: got %v, want it accepted: %t", path, err, ok)
		}
	}
}

func TestPlainHTTPErrorNamesTheVariable(t *testing.T) {
	setEnv(t, map[string]string{"AUTHSEC_BASE_URL": "http://authsec.example.com", "AUTHSEC_AGENT_CLIENT_ID": ourID})
	cfg, err := authsec.ConfigFromEnv()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := authsec.NewSource(cfg); !errors.Is(err, authsec.ErrInsecureURL) || !strings.Contains(err.Error(), "AUTHSEC_BASE_URL") {
		t.Errorf("got %v, want ErrInsecureURL that names the variable", err)
	}
}

// BaseURL has the same rule for plain HTTP to this machine as requests to APIs.
func TestBaseURLOverPlainHTTPOnlyWithoutAProxy(t *testing.T) {
	for base, ok := range map[string]bool{"http://localhost:7468": true, "http://127.0.0.1:7468": true, "http://[::1]:7468": true, "http://LOCALHOST:7468": true, "http://localhost.:7468": true, "http://authsec.example.com": false} {
		cfg := goodConfig()
		cfg.BaseURL = base
		cfg.HTTPClient = &http.Client{Transport: new(http.Transport)} // it has no proxy
		if _, err := authsec.NewSource(cfg); (err == nil) != ok {
			t.Errorf("%s without a proxy: got %v, want it accepted: %t", base, err, ok)
		}
		cfg.HTTPClient.Transport = &http.Transport{Proxy: func(*http.Request) (*url.URL, error) { return url.Parse("http://proxy.example:3128") }}
		if _, err := authsec.NewSource(cfg); !errors.Is(err, authsec.ErrInsecureURL) {
			t.Errorf("%s through a proxy: got %v, want ErrInsecureURL", base, err)
		}
	}
}
