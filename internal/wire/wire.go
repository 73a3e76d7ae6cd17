// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package wire is AuthSec on the wire: what is sent to the server, and what its
// answers say, as plain data. It decides nothing, and waits for nothing but an
// answer's body.
//
// Texts in its results are the server's own. They are not fit to be printed.
package wire

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// Server is where an AuthSec server's endpoints are.
type Server struct{ root *url.URL }

// NewServer returns the server with this base URL: its root, or a URL that goes
// on from there to /authsec, /authsec/uflow or, as AuthSec's own SDKs are
// configured, /uflow.
func NewServer(base *url.URL) Server {
	// Escaped, because "a%2Fuflow" is one segment.
	path, uflow := strings.CutSuffix(strings.TrimRight(base.EscapedPath(), "/"), "/uflow")
	if !uflow && !strings.HasSuffix(path, "/authsec") {
		path += "/authsec"
	}
	return Server{(&url.URL{Scheme: base.Scheme, Host: base.Host, Path: "/"}).JoinPath(path)}
}

// TokenEndpoint is the delegation token endpoint, without the client ID.
func (s Server) TokenEndpoint() *url.URL { return s.root.JoinPath("uflow/sdk/delegation-token") }

// KeySet is where the JSON Web Key Set of a tenant is. Newer servers call a tenant
// a workspace. Each server ignores the other's parameter.
func (s Server) KeySet(tenant string) *url.URL {
	u := s.root.JoinPath("spiresvc/v1/jwt/bundle")
	u.RawQuery = url.Values{"tenant_id": {tenant}, "workspace_id": {tenant}}.Encode()
	return u
}

// NewTokenRequest is a request for a delegation token. authorization is the value
// of its Authorization header; "": it has none.
func NewTokenRequest(ctx context.Context, endpoint *url.URL, clientID, authorization, userAgent string) (*http.Request, error) {
	u := *endpoint
	u.RawQuery = url.Values{"client_id": {clientID}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, errors.New("the request can't be made")
	}
	req.Header = http.Header{
		"Accept":        {"application/json"},
		"Cache-Control": {"no-cache, no-store"},
		"User-Agent":    {userAgent},
		"X-Client-Id":   {clientID},
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	return req, nil
}

var uuid = regexp.MustCompile(`(?i)^(urn:uuid:|\{)?([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})(\})?$`)

// CanonicalID is a client ID as the server finds it: a UUID in lower case with
// hyphens. What is no UUID is returned as it is.
func CanonicalID(id string) string {
	m := uuid.FindStringSubmatch(id)
	if m == nil || (m[1] == "{") != (m[7] == "}") {
		return id
	}
	return strings.ToLower(strings.Join(m[2:7], "-"))
}

const tokenChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/"

// IsToken reports whether s is a b64token, the form of a bearer token (RFC 6750,
// section 2.1).
func IsToken(s string) bool {
	s = strings.TrimRight(s, "=")
	return s != "" && strings.Trim(s, tokenChars) == ""
}

// IsHeaderSafe reports whether a credential can stand in a header as it is.
func IsHeaderSafe(s string) bool {
	return s != "" && strings.IndexFunc(s, func(c rune) bool { return c <= ' ' || c >= 0x7f }) < 0
}
