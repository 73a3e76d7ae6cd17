// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/authsec-go/authsec"
)

const (
	closedEarly = "it closed the connection without an answer"
	brokenOff   = "its answer is not valid HTTP, or broke off"
)

// ownWords returns what may be shown about a failed request to a server. Only some
// errors are known to quote no bytes of the server, which may hold a secret or control
// a terminal. All others get words of our own. target is what the user set.
func ownWords(err error, target string) string {
	op, dns, cert := (*net.OpError)(nil), (*net.DNSError)(nil), (*tls.CertificateVerificationError)(nil)
	noTLS := tls.RecordHeaderError{}
	switch {
	case errors.As(err, &cert):
		return cert.Error()
	case errors.As(err, &op):
		return op.Error()
	case errors.As(err, &dns):
		return dns.Error()
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &noTLS):
		return fmt.Sprintf("it does not speak TLS: the scheme or the port of %s is wrong", target)
	case errors.Is(err, io.EOF):
		return closedEarly
	}
	return brokenOff
}

// plain is the error of a request as it may be shown: without the URL, whose query may
// hold a secret, and without bytes of the server.
func plain(err error) error {
	err = withoutURL(err)
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		errors.As(err, new(*authsec.Error)), errors.As(err, new(*os.PathError)),
		strings.HasPrefix(err.Error(), "authsec: "):
		return err
	}
	return fmt.Errorf("no answer, or no whole one: %s", ownWords(err, "the URL"))
}

func withoutURL(err error) error {
	if e := (*url.Error)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// status is an answer's status, in our own words.
func status(resp *http.Response) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode)))
}
