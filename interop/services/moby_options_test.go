// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package services_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/authsec-go/authsec"
	"github.com/containerd/errdefs"
	moby "github.com/moby/moby/client"
)

// mobyWithHook returns a client that also attaches. tls are options for TLS.
func mobyWithHook(cfg authsec.Config, host string, tls moby.Opt) (*moby.Client, *authsec.Source, error) {
	// docs: begin moby-hook
	src, err := authsec.NewSource(cfg)
	if err != nil {
		return nil, nil, err
	}
	client, err := moby.New(
		moby.WithHost(host),
		tls, // such as moby.WithTLSClientConfig(caFile, certFile, keyFile)
		moby.WithAPIVersion("1.52"),
		moby.WithHTTPRequestHook(func(req *http.Request) error {
			if req.URL.Scheme != "https" {
				return errors.New("no TLS: the token would be readable")
			}
			token, err := src.TokenContext(req.Context())
			if err != nil {
				return err
			}
			token.SetAuthHeader(req)
			return nil
		}))
	// docs: end moby-hook
	return client, src, err
}

// certificates writes the certificate and key of an httptest server as the library wants
// them, and returns the directory.
func certificates(t *testing.T, cert tls.Certificate) string {
	t.Helper()
	dir := t.TempDir()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"ca.pem":   {Type: "CERTIFICATE", Bytes: cert.Certificate[0]},
		"cert.pem": {Type: "CERTIFICATE", Bytes: cert.Certificate[0]},
		"key.pem":  {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestMobyOptions(t *testing.T) {
	ctx, s := timely(t), newStack(t)
	api := s.api(t, daemon())
	host := strings.Replace(api.URL, "https://", "tcp://", 1)
	cfg := s.config(api.URL)
	cfg.Hosts = append(cfg.Hosts, "docker.example.com:2376")
	httpClient, err := authsec.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	version := moby.WithAPIVersion("1.52")

	t.Run("WithHost after WithHTTPClient", func(t *testing.T) {
		_, err := moby.New(moby.WithHTTPClient(httpClient), moby.WithHost(host))
		if err == nil || !strings.Contains(err.Error(), "*authsec.Transport") {
			t.Errorf("error = %v, want one that names *authsec.Transport", err)
		}
	})
	t.Run("without WithScheme", func(t *testing.T) {
		client, err := moby.New(moby.WithHost("tcp://docker.example.com:2376"), moby.WithHTTPClient(httpClient), version)
		if err != nil {
			t.Fatal(err)
		}
		if err := mobySend(client)(ctx, http.MethodGet, ""); !errors.Is(err, authsec.ErrInsecureURL) {
			t.Errorf("error = %v, want %v", err, authsec.ErrInsecureURL)
		}
	})
	t.Run("FromEnv after WithHTTPClient", func(t *testing.T) {
		t.Setenv(moby.EnvOverrideHost, host)
		t.Setenv(moby.EnvTLSVerify, "1")
		t.Setenv(moby.EnvOverrideCertPath, certificates(t, api.TLS.Certificates[0]))
		client, err := moby.New(moby.WithHost(host), moby.WithHTTPClient(httpClient), moby.FromEnv, version)
		if err != nil {
			t.Fatal(err)
		}
		if err := mobySend(client)(ctx, http.MethodGet, ""); !errdefs.IsUnauthorized(err) {
			t.Errorf("error = %v, want a 401: the environment's http.Client has no token", err)
		}
	})
	t.Run("without WithAPIVersion", func(t *testing.T) {
		// The library asks for the version first, by HEAD and GET, until it gets one.
		down := s.api(t, unavailable)
		transport, err := authsec.NewTransport(s.config(down.URL))
		if err != nil {
			t.Fatal(err)
		}
		transport.Retry = quick
		client, err := moby.New(moby.WithHost(strings.Replace(down.URL, "https://", "tcp://", 1)),
			moby.WithHTTPClient(&http.Client{Transport: transport}), moby.WithScheme("https"))
		if err != nil {
			t.Fatal(err)
		}
		before := len(s.requests())
		if err := mobySend(client)(ctx, http.MethodGet, ""); err == nil {
			t.Error("no error, though the API always answers 503")
		}
		if made := s.requests()[before:]; len(made) != 12 {
			t.Errorf("%d attempts, want 4 each of HEAD, GET and the call: %v", len(made), made)
		}
	})
}

// attachable is a daemon whose container echoes what it gets.
func attachable() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, stream, err := http.NewResponseController(w).Hijack()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		io.CopyN(conn, stream, int64(len(short)))
	})
}

// attach sends a text to the container, and reads it back.
func attach(t *testing.T, client *moby.Client) error {
	t.Helper()
	attached, err := client.ContainerAttach(t.Context(), "bills", moby.ContainerAttachOptions{Stream: true, Stdin: true, Stdout: true})
	if err != nil {
		return err
	}
	defer attached.Close()
	if _, err := io.WriteString(attached.Conn, short); err != nil {
		return err
	}
	if text, err := io.ReadAll(attached.Reader); err != nil || string(text) != short {
		t.Errorf("the container sent back %q, %v, want %q", text, err, short)
	}
	return nil
}

// Attach and exec open a connection of their own, without the http.Client and without
// TLS.
func TestMobyAttachesWithoutTheClient(t *testing.T) {
	s := newStack(t)
	api := s.api(t, attachable())
	client, _, err := newMoby(s.config(api.URL), strings.Replace(api.URL, "https://", "tcp://", 1))
	if err != nil {
		t.Fatal(err)
	}
	if err := attach(t, client); err == nil {
		t.Error("no error, though the connection has no TLS")
	}
	if made := s.requests(); len(made) != 0 {
		t.Errorf("requests = %v, want none", made)
	}
}

// A hook of the library is called for these connections, too. It neither replaces a
// rejected token nor retries.
func TestMobyHook(t *testing.T) {
	s := newStack(t)
	api := s.api(t, attachable())
	dir := certificates(t, api.TLS.Certificates[0])
	host := strings.Replace(api.URL, "https://", "tcp://", 1)
	client, src, err := mobyWithHook(s.config(), host, moby.WithTLSClientConfig(filepath.Join(dir, "ca.pem"), "", ""))
	if err != nil {
		t.Fatal(err)
	}
	if err := attach(t, client); err != nil {
		t.Fatal(err)
	}
	s.checkSeen(t)
	s.revoke()
	for range 2 {
		if err := attach(t, client); err == nil || !strings.Contains(err.Error(), "received 401") {
			t.Errorf("after the revocation: %v, want the API's 401", err)
		}
	}
	s.redelegate(t, src)
	if err := attach(t, client); err != nil {
		t.Errorf("with a new delegation: %v", err)
	}

	plain, _, err := mobyWithHook(s.config(), host, nil)
	if err != nil {
		t.Fatal(err)
	}
	before := len(s.requests())
	if err := attach(t, plain); err == nil || !strings.Contains(err.Error(), "no TLS") {
		t.Errorf("without TLS: %v, want the hook's error", err)
	}
	if made := s.requests()[before:]; len(made) != 0 {
		t.Errorf("requests = %v, want none", made)
	}
}
