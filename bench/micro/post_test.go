// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package micro

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/authsec-go/authsec/bench/peers"
)

// protocols are how the API is reached, over loopback.
var protocols = []struct {
	name       string
	tls, http2 bool
}{{"http1", false, false}, {"tls", true, false}, {"http2", true, true}}

// newAPI starts an API that reads a request's body and answers a little JSON. It returns
// a transport to it, with connections of its own.
func newAPI(b *testing.B, tls, http2 bool) (url string, base *http.Transport) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n, err := io.Copy(io.Discard, r.Body); err != nil || r.ContentLength >= 0 && n != r.ContentLength {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		io.WriteString(w, `{"ok":true}`)
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	if srv.EnableHTTP2 = http2; tls {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	b.Cleanup(srv.Close)
	return srv.URL, srv.Client().Transport.(*http.Transport).Clone()
}

// post sends one POST, and reads its response.
func post(client *http.Client, url string, body io.Reader, length int64) error {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if req.ContentLength == 0 {
		req.ContentLength = length
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

// eachPeer runs send in turn with the clients of authsec, of x/oauth2, and of one that
// sends the header from a constant.
func eachPeer(b *testing.B, name string, tls, http2 bool, send func(client *http.Client, url string) error) {
	for _, p := range peers.Named(peers.AuthSec, peers.OAuth2, peers.ReadyHeader) {
		url, base := newAPI(b, tls, http2)
		j := job()
		_, j.Host, _ = strings.Cut(url, "://")
		rt, err := p.RoundTripper(j, base)
		if err != nil {
			b.Fatal(err)
		}
		client := &http.Client{Transport: rt}
		if err := send(client, url); err != nil { // connects
			b.Fatal(err)
		}
		b.Run(name+"/peer="+p.Slug(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := send(client, url); err != nil {
					b.Fatal(err)
				}
			}
		})
		base.CloseIdleConnections()
	}
}

// BenchmarkPost measures POSTs of bodies in memory, by size and protocol.
func BenchmarkPost(b *testing.B) {
	for _, protocol := range protocols {
		for _, size := range []int{0, 700, 64 << 10, 1 << 20} {
			data := bytes.Repeat([]byte("x"), size)
			name := fmt.Sprintf("proto=%s/bytes=%d", protocol.name, size)
			eachPeer(b, name, protocol.tls, protocol.http2, func(client *http.Client, url string) error {
				return post(client, url, bytes.NewReader(data), 0)
			})
		}
	}
}

// BenchmarkPostFrom measures POSTs over plain HTTP/1.1 by the kind of body.
func BenchmarkPostFrom(b *testing.B) {
	const small, large = 700, 1 << 20
	data := bytes.Repeat([]byte("x"), large)
	path := filepath.Join(b.TempDir(), "body")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		b.Fatal(err)
	}
	for _, body := range []struct {
		name string
		size int
		open func() (io.Reader, error)
	}{
		{"bytes.Buffer", small, func() (io.Reader, error) { return bytes.NewBuffer(data[:small]), nil }},
		{"strings.Reader", small, func() (io.Reader, error) { return strings.NewReader(string(data[:small])), nil }},
		{"os.File", large, func() (io.Reader, error) { return os.Open(path) }},
		{"pipe", large, func() (io.Reader, error) {
			r, w := io.Pipe()
			go func() {
				_, err := w.Write(data)
				w.CloseWithError(err)
			}()
			return r, nil
		}},
	} {
		eachPeer(b, fmt.Sprintf("body=%s/bytes=%d", body.name, body.size), false, false, func(client *http.Client, url string) error {
			r, err := body.open()
			if err != nil {
				return err
			}
			return post(client, url, r, int64(body.size))
		})
	}
}
