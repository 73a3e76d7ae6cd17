// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package fetchtool_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"testing"

	"golang.org/x/text/unicode/norm"

	"github.com/authsec-go/authsec/fetchtool"
)

// wire is a base transport that writes each request as net/http's own transport
// does, reads it as a server does, and keeps what the server saw.
type wire struct {
	mu       sync.Mutex
	location string // where the path /v1/x-go redirects to
	seen     []*http.Request
}

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	var b bytes.Buffer
	if err := req.Write(&b); err != nil {
		return nil, err
	}
	got, err := http.ReadRequest(bufio.NewReader(&b))
	if err != nil {
		return nil, err
	}
	got.URL.Scheme = req.URL.Scheme // is not in the request line
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, got)
	resp := &http.Response{
		StatusCode: 200, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header: http.Header{"Content-Type": {"text/plain"}}, Body: io.NopCloser(strings.NewReader("ok")),
	}
	if got.RequestURI == "/v1/x-go" {
		resp.StatusCode, resp.Header = 302, http.Header{"Location": {w.location}}
	}
	return resp, nil
}

// below judges a request line by other means than the package: it undoes all
// escapes, takes what Unicode decomposes to slashes and dots for them, drops
// parameters, queries and fragments, and resolves dots.
func below(requestURI, root string) bool {
	p, _, _ := strings.Cut(requestURI, "?")
	for range 5 {
		decoded, err := url.PathUnescape(p)
		if err != nil {
			break
		}
		p = decoded
	}
	p = strings.NewReplacer(`\`, "/", "\xc0\xae", ".", "\xc0\xaf", "/", "\x00", "").Replace(norm.NFKD.String(p))
	segments := strings.Split(p, "/")
	for i, s := range segments {
		segments[i] = strings.TrimSpace(s[:strings.IndexAny(s+";", ";?#")])
	}
	for _, merged := range []string{path.Clean("/" + strings.Join(segments, "/")), path.Clean("/" + p)} {
		if merged != root && !strings.HasPrefix(merged, root+"/") {
			return false
		}
	}
	return true
}

// FuzzWhatIsSentLiesBelow: whatever a model writes, and wherever an API
// redirects, what a server would see lies below a permitted URL. With quotes or the
// like around it, nothing is sent.
func FuzzWhatIsSentLiesBelow(f *testing.F) {
	for _, seed := range []string{
		"https://api.example.com/v1/x", "/customers/42", "x", "?q", "#f", "//evil.test", "https://api.example.com@evil.test/", "https://api.example.com:443/v1/../admin",
		"/v1/%2e%2e/admin", "..;/x", "/v1//../x", "%2f..", "\\\\evil", "https://api.example.com/v1;x", "HTTPS://API.EXAMPLE.COM./v1/%76?x#y", "a/../../b", "%c0%ae", "x%3b", "．．/", "y?z=%0d%0a",
		"https:/evil", "http://api.example.com/v1", "https://[::1]/v1", "/v1/x-go", "https://api.example.com/v1/é%20[", "x/./y//z/..", "https://api.example.com/%76%31",
		"︰/︰/secrets", "..%3fx", "..%23x", "%ef%b8%b0/x", "..？/x", "\"/customers/42\"", "'x'", "```\nx\n```", "<https://api.example.com/v1/x>", "Customers('A')", "x?q=\"a\"", "[x](x)", "%22x%22", "&quot;x",
	} {
		f.Add(seed)
	}
	base := new(wire)
	s := newStack(f, base, nil)
	f.Fuzz(func(t *testing.T, text string) {
		for _, asked := range []string{text, "x-go"} {
			base.mu.Lock()
			base.location, base.seen = text, nil
			base.mu.Unlock()
			result, err := s.tool.Fetch(context.Background(), fetchtool.Request{URL: asked})
			for _, got := range base.seen {
				if got.Host != "api.example.com" || got.URL.Scheme != "https" || got.URL.User != nil || !below(got.RequestURI, "/v1") {
					t.Fatalf("%q, asked %q: the server saw %s://%s and %s, want it below https://api.example.com/v1", text, asked, got.URL.Scheme, got.Host, got.RequestURI)
				}
				if got.Header.Get("Authorization") != "Bearer "+s.token {
					t.Fatalf("%q: a request went without the token", text)
				}
			}
			if err == nil && len(base.seen) == 0 {
				t.Fatalf("%q: got an answer without a request", text)
			}
			if asked == text && err == nil {
				// What was sent is its own one form.
				again, err := s.tool.Fetch(context.Background(), fetchtool.Request{URL: result.URL})
				if err != nil && !strings.Contains(result.URL, "/x-go") || err == nil && again.URL != result.URL {
					t.Fatalf("%q: got %q, and %v, %v when that is fetched again, want the same", text, result.URL, again, err)
				}
				// Nothing is sent that has something around it, nor a path with such characters.
				if strings.ContainsAny(text, "\"`<>{}") && !strings.ContainsAny(text, "?#") {
					t.Fatalf("%q: %s was sent, want it refused", text, result.URL)
				}
				for _, around := range []string{`"X"`, "'X'", "`X`", "```\nX\n```", "<X>", "(X)", "[X]", "“X”", "「X」", "**X**", "%22X%22"} {
					wrapped := strings.Replace(around, "X", text, 1)
					if got, err := s.tool.Fetch(context.Background(), fetchtool.Request{URL: wrapped}); err == nil {
						t.Fatalf("%q: %s was sent, want it refused", wrapped, got.URL)
					}
				}
			}
			// Other parsers see the same host in what is permitted.
			if u, parseErr := url.Parse(text); asked == text && err == nil && parseErr == nil && u.Host != "" {
				if host := strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")); host != "api.example.com" {
					t.Fatalf("%q: net/url sees the host %q, and it was permitted", text, host)
				}
			}
		}
	})
}
