// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package fetchtool_test

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/fetchtool"
)

// encodings are some of the ways in which an API may echo a secret. Package
// redact tests all of them.
var encodings = map[string]func(string) string{
	"plain": func(s string) string { return s },
	"query": url.QueryEscape,
	"JSON": func(s string) string {
		var b strings.Builder
		for _, c := range []byte(s) {
			fmt.Fprintf(&b, `\u%04x`, c)
		}
		return b.String()
	},
	"base64":          func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64 in lines": func(s string) string { return lines(base64.StdEncoding.EncodeToString([]byte(s))) },
	"base64 of base64": func(s string) string {
		return base64.StdEncoding.EncodeToString([]byte(base64.URLEncoding.EncodeToString([]byte(s))))
	},
	"percent four times": func(s string) string {
		return url.QueryEscape(url.QueryEscape(url.QueryEscape(strings.ReplaceAll(url.QueryEscape(s), "-", "%2D"))))
	},
}

// lines breaks a text as MIME does.
func lines(s string) string {
	var b strings.Builder
	for ; len(s) > 76; s = s[76:] {
		b.WriteString(s[:76] + "\r\n")
	}
	return b.String() + s
}

// TestEchoedSecretsAreStruckOut has an API echo the token it got, and the
// agent's client ID, and holds the model's text against what was echoed.
func TestEchoedSecretsAreStruckOut(t *testing.T) {
	for name, encode := range encodings {
		for _, secret := range []string{"token", "client ID"} {
			var echo string
			base := &ledger{handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				value := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
				if secret == "client ID" {
					value = authsectest.ClientID
				}
				echo = encode(value)
				fmt.Fprintf(w, "before %s, %[1]s: after", echo)
			})}
			s := newStack(t, base, nil)
			got := s.call(t, "x")
			if want := "before [redacted], [redacted]: after"; got != want {
				t.Errorf("%s, %s: got %d bytes with the echo in it: %t, want %q", secret, name, len(got), strings.Contains(got, echo), want)
			}
		}
	}
}

// TestWhatIsNotLookedFor has each encoding that the package's documentation says is
// not found.
func TestWhatIsNotLookedFor(t *testing.T) {
	for name, encode := range map[string]func(string) string{
		"hex":    func(s string) string { return hex.EncodeToString([]byte(s)) },
		"base32": func(s string) string { return base32.StdEncoding.EncodeToString([]byte(s)) },
		"octal": func(s string) string {
			var b strings.Builder
			for _, c := range []byte(s) {
				fmt.Fprintf(&b, `\%03o`, c)
			}
			return b.String()
		},
		"spread out": func(s string) string { return strings.Join(strings.Split(s, ""), " ") },
		"reversed": func(s string) string {
			b := []byte(s)
			slices.Reverse(b)
			return string(b)
		},
	} {
		var echo string
		base := &ledger{handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
			echo = encode(token)
			io.WriteString(w, echo)
		})}
		if got := newStack(t, base, nil).call(t, "x"); got != echo {
			t.Errorf("%s: got it changed, want doc.go to say so", name)
		}
	}
}

// TestNoPartOfAResponseShowsASecret has an API echo the token in each part of a
// response that net/http hands on.
func TestNoPartOfAResponseShowsASecret(t *testing.T) {
	for part, change := range map[string]func(resp *http.Response, echo string){
		"media type": func(resp *http.Response, echo string) { resp.Header.Set("Content-Type", "text/"+echo) },
		"long media type": func(resp *http.Response, echo string) {
			resp.Header.Set("Content-Type", "text/"+strings.Repeat("x", 90)+echo)
		},
		"kind of media":         func(resp *http.Response, echo string) { resp.Header.Set("Content-Type", echo+"/x") },
		"media that is no text": func(resp *http.Response, echo string) { resp.Header.Set("Content-Type", "image/"+echo) },
		"media without a slash": func(resp *http.Response, echo string) { resp.Header.Set("Content-Type", echo) },
		"malformed parameter":   func(resp *http.Response, echo string) { resp.Header.Set("Content-Type", "text/"+echo+"; "+echo) },
		"malformed media type":  func(resp *http.Response, echo string) { resp.Header.Set("Content-Type", "text/"+echo+"/"+echo) },
		"charset": func(resp *http.Response, echo string) {
			resp.Header.Set("Content-Type", "text/"+echo+"; charset="+echo)
		},
		"encoding":           func(resp *http.Response, echo string) { resp.Header.Set("Content-Encoding", echo) },
		"status":             func(resp *http.Response, echo string) { resp.Status = "200 " + echo },
		"status of an error": func(resp *http.Response, echo string) { resp.StatusCode, resp.Status = 499, "499 "+echo },
		"protocol":           func(resp *http.Response, echo string) { resp.Proto = echo },
		"trailer":            func(resp *http.Response, echo string) { resp.Trailer = http.Header{"X-Echo": {echo}, echo: {"x"}} },
		"headers": func(resp *http.Response, echo string) {
			resp.StatusCode = 429
			for _, name := range []string{"X-Echo", "Set-Cookie", "Retry-After", "Date", "Www-Authenticate", "Location"} {
				resp.Header.Set(name, echo)
			}
		},
		"URL": func(resp *http.Response, echo string) {
			resp.Request.URL.RawQuery, resp.Request.URL.Fragment = echo, echo
		},
		"redirect within":  func(resp *http.Response, echo string) { redirect(resp, "/v1/"+echo+"?"+echo) },
		"redirect outside": func(resp *http.Response, echo string) { redirect(resp, "https://evil.test/"+echo) },
		"redirect's host":  func(resp *http.Response, echo string) { redirect(resp, "https://"+echo+"/") },
		"redirect's port":  func(resp *http.Response, echo string) { redirect(resp, "https://api.example.com:"+echo+"/") },
		"redirect's user":  func(resp *http.Response, echo string) { redirect(resp, "https://"+echo+"@api.example.com/") },
		"redirect's kind":  func(resp *http.Response, echo string) { redirect(resp, echo+"://api.example.com/") },
		"body that breaks": func(resp *http.Response, echo string) { resp.Body = io.NopCloser(iotest.ErrReader(errors.New(echo))) },
	} {
		for name, encode := range map[string]func(string) string{
			"plain": encodings["plain"], "upper case": strings.ToUpper,
			"base64": func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
		} {
			var echo string
			s := newStack(t, roundTrip(func(req *http.Request) (*http.Response, error) {
				_, token, _ := strings.Cut(req.Header.Get("Authorization"), " ")
				resp := &http.Response{StatusCode: 200, Request: req, Header: http.Header{"Content-Type": {"text/plain"}}, ContentLength: -1, Body: io.NopCloser(strings.NewReader("ok"))}
				if req.URL.Path == "/v1/x" {
					echo = encode(token)
					change(resp, echo)
				}
				return resp, nil
			}), func(c *fetchtool.Config) { c.Methods = []string{"GET", "POST"} })
			result, err := s.tool.Fetch(callContext(t), fetchtool.Request{URL: "x", Method: "POST"})
			got := fmt.Sprintf("%+v %v %+v %s", result, result, err, s.call(t, `{"url":"x","method":"POST"}`))
			for below := err; below != nil; below = errors.Unwrap(below) {
				got += fmt.Sprintf(" %+v", below)
			}
			s.wantSecret(t, got)
			if echo == "" || strings.Contains(strings.ToLower(got), strings.ToLower(echo[:40])) {
				t.Errorf("%s, %s: got the echo, or none was made, want it struck out", part, name)
			}
			if e := (*fetchtool.Error)(nil); errors.As(err, &e) {
				s.wantSecret(t, e.Advice+e.Answer)
			}
		}
	}
}

func redirect(resp *http.Response, location string) {
	resp.StatusCode = http.StatusSeeOther
	resp.Header.Set("Location", location)
}

func TestContentTypeIsRedactedAndBounded(t *testing.T) {
	for declared, want := range map[string]string{
		"text/TOKEN": "text/[redacted]", "Text/TOKEN; charset=utf-8": "text/[redacted]", "application/" + authsectest.ClientID + "+json": "application/[redacted]+json",
		"text/" + strings.Repeat("x", 200): "text/" + strings.Repeat("x", 95), "Application/JSON": "application/json",
	} {
		base := new(ledger)
		base.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
			w.Header().Set("Content-Type", strings.ReplaceAll(declared, "TOKEN", token))
			io.WriteString(w, "ok")
		})
		s := newStack(t, base, nil)
		result, err := s.tool.Fetch(callContext(t), fetchtool.Request{URL: "x"})
		if err != nil || result.ContentType != want || result.Text != "ok" {
			t.Errorf("%s: got %d bytes, %v, want the type %q", declared, len(result.ContentType), err, want)
		}
	}
}

func TestEchoedAuthorizationIsStruckOutOfErrorsToo(t *testing.T) {
	for _, status := range []int{400, 401, 403, 404, 422, 429} {
		base := &ledger{handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			json.NewEncoder(w).Encode(map[string]any{"headers": r.Header, "agent": authsectest.ClientID})
		})}
		s := newStack(t, base, func(c *fetchtool.Config) { c.Methods = []string{"POST"} })
		got := s.call(t, `{"url":"x","method":"POST"}`)
		wantIn(t, got, "Error: ", "Bearer [redacted]", `"agent":"[redacted]"`)
		s.wantSecret(t, got)
	}
}

// TestRefusedTokenIsStruckOutAsWell has one call with two tokens.
func TestRefusedTokenIsStruckOutAsWell(t *testing.T) {
	var seen []string
	base := new(ledger)
	s := newStack(t, base, nil)
	base.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		if len(seen) == 1 {
			s.Delegate(authsectest.ClientID, authsectest.Delegation{TTL: 2 * 3600e9})
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		io.WriteString(w, strings.Join(seen, "|"))
	})
	if got, want := s.call(t, "x"), "[redacted]|[redacted]"; got != want {
		t.Errorf("got %d bytes, want %q", len(got), want)
	}
	if len(seen) != 2 || seen[0] == seen[1] {
		t.Fatal("the call did not bear two tokens: nothing is tested")
	}
}

func TestTokenInTheFinalURLIsStruckOut(t *testing.T) {
	base := &ledger{handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/go" {
			http.Redirect(w, r, "/v1/x?t="+strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), http.StatusFound)
		}
	})}
	s := newStack(t, base, nil)
	result, err := s.tool.Fetch(callContext(t), fetchtool.Request{URL: "go"})
	if err != nil {
		t.Fatal(err)
	}
	if want := "https://api.example.com/v1/x?t=[redacted]"; result.URL != want {
		t.Errorf("got %d bytes, want %q", len(result.URL), want)
	}
}

// TestNothingPrintsASecret formats a tool, and all kinds of its errors, in
// every way.
func TestNothingPrintsASecret(t *testing.T) {
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		switch r.URL.Path {
		case "/status": // a malformed answer that echoes the token
			fmt.Fprintf(conn, "HTTP/1.1 %s\r\n\r\n", r.Header.Get("Authorization"))
		case "/header":
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\n%s\r\n\r\n", r.Header.Get("Authorization"))
		case "/location":
			fmt.Fprintf(conn, "HTTP/1.1 302 Found\r\nLocation: http://%%zz%s\r\nContent-Length: 0\r\n\r\n", r.Header.Get("Authorization"))
		case "/elsewhere":
			fmt.Fprintf(conn, "HTTP/1.1 302 Found\r\nLocation: http://evil.test/%s\r\nContent-Length: 0\r\n\r\n", strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		}
	}))
	defer mirror.Close()
	srv := authsectest.NewServer()
	defer srv.Close()
	s := &stack{Server: srv, token: srv.Delegate(authsectest.ClientID, authsectest.Delegation{})}
	var err error
	s.tool, err = fetchtool.New(fetchtool.Config{AuthSec: srv.Config(authsectest.ClientID), DownstreamURLs: []string{mirror.URL}, Methods: []string{"POST"}})
	if err != nil {
		t.Fatal(err)
	}
	var values []any
	for _, p := range []string{"status", "header", "location", "elsewhere", "https://evil.test"} {
		_, err := s.tool.Fetch(callContext(t), fetchtool.Request{URL: p, Method: "POST"})
		var e *fetchtool.Error
		if !errors.As(err, &e) {
			t.Fatalf("%s: got %v, want an *Error", p, err)
		}
		values = append(values, err)
		for below := errors.Unwrap(err); below != nil; below = errors.Unwrap(below) {
			values = append(values, below)
		}
	}
	values = append(values, s.tool, *notDelegated(t))
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			s.wantSecret(t, fmt.Sprintf(verb, v))
		}
		var b strings.Builder
		slog.New(slog.NewTextHandler(&b, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "v", v)
		s.wantSecret(t, b.String())
	}
	want := "fetchtool.Tool{secure_fetch: POST below " + mirror.URL + "/}"
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
		if got := fmt.Sprintf(verb, s.tool); got != want {
			t.Errorf("%s: got %q, want %q", verb, got, want)
		}
	}
}

// notDelegated is an error whose cause is package authsec's.
func notDelegated(t *testing.T) *fetchtool.Error {
	srv := authsectest.NewInMemoryServer()
	srv.Register(authsectest.ClientID)
	tool, err := fetchtool.New(fetchtool.Config{AuthSec: srv.Config(authsectest.ClientID), DownstreamURLs: []string{"https://api.example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = tool.Fetch(callContext(t), fetchtool.Request{URL: "x"})
	var e *fetchtool.Error
	var below *authsec.Error
	if !errors.As(err, &e) || !errors.As(err, &below) || !errors.Is(err, authsec.ErrNotDelegated) {
		t.Fatalf("got %v, want an *Error over an *authsec.Error that is ErrNotDelegated", err)
	}
	return e
}

// TestConnectionErrorsStayInspectable keeps what a program can learn of them.
func TestConnectionErrorsStayInspectable(t *testing.T) {
	s := newStack(t, roundTrip(func(req *http.Request) (*http.Response, error) {
		return nil, fmt.Errorf("%s for %s: %w", req.Header.Get("Authorization"), authsectest.ClientID, net.ErrClosed)
	}), func(c *fetchtool.Config) { c.Methods = []string{"POST"} })
	e := s.fail(t, fetchtool.Request{URL: "x", Method: "POST"}, fetchtool.Unavailable)
	if !errors.Is(e, net.ErrClosed) {
		t.Errorf("got %v, want it to be net.ErrClosed", e)
	}
	if got, want := e.Unwrap().Error(), `Post "https://api.example.com/v1/x": Bearer [redacted] for [redacted]: use of closed network connection`; got != want {
		s.wantSecret(t, got)
		t.Errorf("got %d bytes, want %q", len(got), want)
	}
	if errors.As(e, new(*url.Error)) {
		t.Error("got the *url.Error, want none that shows the token")
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
