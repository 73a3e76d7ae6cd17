// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package hosts

import "net/http"

// maxHops limits how many redirects are followed back. http.Client stops at 10
// by default. A longer chain than this is not trusted.
const maxHops = 100

// sameOrigin reports whether every hop that led to req had the host and port of
// the first one, or a subdomain of that host.
func sameOrigin(req *http.Request) bool {
	if req.Response == nil {
		return true
	}
	first := req
	for n := 0; first.Response != nil; n++ {
		if first = previous(first); first == nil || n == maxHops {
			return false
		}
	}
	origin, err := hostOf(first.URL)
	if err != nil {
		return false
	}
	port := portOf(first.URL)
	for r := req; r != first; r = previous(r) {
		h, err := hostOf(r.URL)
		if err != nil || portOf(r.URL) != port || !h.same(origin) && !h.below(origin) {
			return false
		}
	}
	return true
}

// leftTLS reports whether a hop before req used TLS, or is not known.
func leftTLS(req *http.Request) bool {
	for n := 0; req.Response != nil; n++ {
		if req = previous(req); req == nil || n == maxHops || req.URL.Scheme == "https" {
			return true
		}
	}
	return false
}

// previous returns the request that was redirected to req, or nil if it is not
// known.
func previous(req *http.Request) *http.Request {
	if req.Response == nil || req.Response.Request == nil || req.Response.Request.URL == nil {
		return nil
	}
	return req.Response.Request
}
