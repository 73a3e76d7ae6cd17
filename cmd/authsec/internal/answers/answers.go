// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package answers has what the commands share about HTTP answers: what may be said
// about one, or about a request that got none, and how one is written in JSON.
package answers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
)

// Fault is an error with words of our own, which [Failure] returns unchanged.
type Fault string

func (f Fault) Error() string { return string(f) }

// Failure returns what may be said about a request without a whole answer. "It" is
// the server.
//
// Most errors of net/http quote the server, whose bytes may contain the token or
// control a terminal, and which a model may read. So only a [Fault] and the numbered
// errors of the operating system keep their words.
func Failure(err error) string {
	var (
		own       Fault
		number    syscall.Errno
		unknown   *net.DNSError
		cert      *tls.CertificateVerificationError
		otherHost x509.HostnameError
		untrusted x509.UnknownAuthorityError
		noTLS     tls.RecordHeaderError
		op        *net.OpError
		timeout   interface{ Timeout() bool }
	)
	if errors.As(err, &op) && op.Op == "proxyconnect" {
		return "the HTTP proxy before it failed: " + Failure(op.Err)
	}
	switch {
	case errors.As(err, &own):
		return own.Error()
	case errors.As(err, &otherHost):
		return "its TLS certificate is for another host"
	case errors.As(err, &untrusted):
		return "its TLS certificate is from an unknown authority (SSL_CERT_FILE names the file of a private one)"
	case errors.As(err, &cert):
		return "its TLS certificate is not valid"
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &noTLS):
		return "it does not speak TLS: the scheme or the port of its URL is wrong"
	case op != nil && op.Op == "remote error": // an alert
		return "it ended the TLS connection"
	case errors.As(err, &unknown):
		return "the name of its host was not found"
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return "it did not answer in time"
	case errors.As(err, &number):
		return number.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "it closed the connection too early"
	}
	return "its answer is not valid HTTP, or broke off"
}

// Status returns a status with its name, as in "404 Not Found". The server's own
// words for it may hold the token.
func Status(code int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", code, http.StatusText(code)))
}

// WriteJSON answers with v in JSON.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v) // fails only if the client has gone
}
