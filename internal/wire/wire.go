// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package wire has the AuthSec protocol: requests to the server, and the server's
// answers as plain data. It makes no decisions, and waits only for an answer's body.
//
// Texts in its results come from the server and may hold secrets: redact them before
// printing.
package wire

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// Server has the URLs of an AuthSec server's endpoints.
type Server struct{ root *url.URL }

// NewServer returns the server with this base URL: its root, alone or followed by
// /authsec, /authsec/uflow or /uflow (which AuthSec's own SDKs use).
func NewServer(base *url.URL) Server {
	// EscapedPath, because "a%2Fuflow" is one segment.
	path, uflow := strings.CutSuffix(strings.TrimRight(base.EscapedPath(), "/"), "/uflow")
	if !uflow && !strings.HasSuffix(path, "/authsec") {
		path += "/authsec"
	}
	return Server{(&url.URL{Scheme: base.Scheme, Host: base.Host, Path: "/"}).JoinPath(path)}
}

// TokenEndpoint returns the URL for delegation tokens, without the client ID.
func (s Server) TokenEndpoint() *url.URL { return s.root.JoinPath("uflow/sdk/delegation-token") }

// KeySet returns the URL of a tenant's JSON Web Key Set. It has one parameter for older
// servers, and one for newer servers, which call a tenant a workspace.
func (s Server) KeySet(tenant string) *url.URL {
	u := s.root.JoinPath("spiresvc/v1/jwt/bundle")
	u.RawQuery = url.Values{"tenant_id": {tenant}, "workspace_id": {tenant}}.Encode()
	return u
}

// NewTokenRequest returns a request for a delegation token. authorization is the value
// of its Authorization header; "": no header.
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

// CanonicalID returns a client ID in the only form that the server finds: a UUID in
// lower case with hyphens. It returns anything but a UUID unchanged.
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

// IsHeaderSafe reports whether a credential can be sent in a header: it is not empty,
// and has only visible ASCII characters.
func IsHeaderSafe(s string) bool {
	return s != "" && strings.IndexFunc(s, func(c rune) bool { return c <= ' ' || c >= 0x7f }) < 0
}
