// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package answers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
)

// timedOut is an error such as net/http's own.
type timedOut struct{}

func (timedOut) Error() string { return "evil" }
func (timedOut) Timeout() bool { return true }

// TestFailureHasWordsOfItsOwn: no error of net/http, whose text may be the server's.
func TestFailureHasWordsOfItsOwn(t *testing.T) {
	const (
		notHTTP  = "its answer is not valid HTTP, or broke off"
		tooEarly = "it closed the connection too early"
		noTLS    = "it does not speak TLS: the scheme or the port of its URL is wrong"
		late     = "it did not answer in time"
	)
	cert := func(err error) error { return &tls.CertificateVerificationError{Err: err} }
	refused := &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	evil := &x509.Certificate{DNSNames: []string{"evil"}}
	for _, tc := range []struct {
		err  error
		want string
	}{
		{errors.New("evil"), notHTTP},
		{Fault("our own"), "our own"},
		{refused, "connection refused"},
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ETIMEDOUT)}, late},
		{&net.OpError{Op: "dial", Err: &net.DNSError{Err: "evil", Name: "evil"}}, "the name of its host was not found"},
		{&net.OpError{Op: "remote error", Err: errors.New("evil")}, "it ended the TLS connection"},
		{&net.OpError{Op: "proxyconnect", Err: errors.New("evil")}, "the HTTP proxy before it failed: " + notHTTP},
		{&net.OpError{Op: "proxyconnect", Err: refused}, "the HTTP proxy before it failed: connection refused"},
		{cert(x509.HostnameError{Certificate: evil, Host: "evil"}), "its TLS certificate is for another host"},
		{cert(x509.UnknownAuthorityError{Cert: evil}), "its TLS certificate is from an unknown authority (SSL_CERT_FILE names the file of a private one)"},
		{cert(x509.CertificateInvalidError{Cert: evil, Reason: x509.Expired, Detail: "evil"}), "its TLS certificate is not valid"},
		{tls.RecordHeaderError{Msg: "evil"}, noTLS},
		{http.ErrSchemeMismatch, noTLS},
		{timedOut{}, late},
		{os.ErrDeadlineExceeded, late},
		{context.DeadlineExceeded, late},
		{io.EOF, tooEarly},
		{io.ErrUnexpectedEOF, tooEarly},
	} {
		for _, err := range []error{tc.err, fmt.Errorf("evil: %w", tc.err), &url.Error{Op: "Post", URL: "https://evil/", Err: tc.err}} {
			if got := Failure(err); got != tc.want {
				t.Errorf("%T %v: %q, want %q", tc.err, err, got, tc.want)
			}
		}
	}
}

func TestStatusHasNoWordsOfTheServer(t *testing.T) {
	for code, want := range map[int]string{200: "200 OK", 404: "404 Not Found", 299: "299"} {
		if got := Status(code); got != want {
			t.Errorf("%d: %q, want %q", code, got, want)
		}
	}
}

func TestWriteJSON(t *testing.T) {
	w := httptest.NewRecorder()
	WriteJSON(w, http.StatusTeapot, map[string]bool{"ok": true})
	if body := strings.TrimSpace(w.Body.String()); w.Code != http.StatusTeapot || body != `{"ok":true}` ||
		w.Header().Get("Content-Type") != "application/json; charset=utf-8" {
		t.Errorf("%d, %v, %q", w.Code, w.Header(), body)
	}
}
