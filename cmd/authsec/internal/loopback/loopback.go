// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package loopback keeps web pages away from servers that are for programs on this
// machine.
package loopback

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/authsec-go/authsec/internal/hosts"
)

// Permits reports whether a program on this machine sent a request. It is false if a
// web page in a browser on this machine may have caused the request: one with another
// origin, or with a Host that is not this machine's, as after DNS rebinding. names are
// more names of this machine, with or without a port.
func Permits(r *http.Request, names ...string) bool { return isOwn(r.Host, names) && !isForeign(r) }

// Only returns a handler that passes on what [Permits] permits, and answers 403 to the
// rest.
func Only(next http.Handler, names ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !Permits(r, names...) {
			http.Error(w, "Forbidden: only programs on this machine may use this server", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isOwn reports whether a request's Host is this machine's.
func isOwn(host string, names []string) bool {
	name := (&url.URL{Host: host}).Hostname()
	if hosts.Loopback(name) {
		return true
	}
	for _, own := range names {
		if own != "" && (strings.EqualFold(own, host) || strings.EqualFold(own, name)) {
			return true
		}
	}
	return false
}

// isForeign reports whether a page of another origin caused the request.
func isForeign(r *http.Request) bool {
	for _, origin := range r.Header["Origin"] {
		if origin != "http://"+r.Host {
			return true
		}
	}
	for _, site := range r.Header["Sec-Fetch-Site"] {
		if site != "none" && site != "same-origin" {
			return true
		}
	}
	return false
}
