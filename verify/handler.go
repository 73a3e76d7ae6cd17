// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/internal/wire"
)

// The error codes of RFC 6750, section 3.1, and of RFC 6749, section 4.1.2.1.
const (
	invalidRequest    = "invalid_request"
	invalidToken      = "invalid_token"
	insufficientScope = "insufficient_scope"
	serverError       = "server_error"
	unavailable       = "temporarily_unavailable"
)

// minRetryAfter is the smallest Retry-After of a 503, in seconds.
const minRetryAfter = 1

// claimsKey is the context key of a request's claims.
type claimsKey struct{}

// FromContext returns the claims of the token that a [Verifier]'s handler accepted.
// All handlers of the request share them: do not change them.
func FromContext(ctx context.Context) (*authsec.Claims, bool) {
	claims, ok := ctx.Value(claimsKey{}).(*authsec.Claims)
	return claims, ok
}

// Handler returns a handler that passes requests with a good token to next, with
// the claims in their context ([FromContext]). It reads the token from the
// Authorization header only (RFC 6750, section 2.1). It answers other requests
// itself, with a challenge and without a reason (section 3):
//
//	401                      no token, or credentials of another kind
//	400 invalid_request      several Authorization headers, or a malformed one
//	401 invalid_token        a token that is not good
//	503                      there are no keys to verify the token with
//
// A 401 in place of the 503 would say that the token is invalid, and clients would
// drop a good token.
func (v *Verifier) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, problem := bearerToken(r.Header)
		if problem != nil {
			v.logRefusal(r.Context(), problem.reason)
			problem.write(w)
			return
		}
		claims, err := v.Verify(r.Context(), token)
		if err != nil {
			v.logRefusal(r.Context(), err.Error())
			answerTo(err).write(w)
			return
		}
		if next == nil {
			refusal{status: http.StatusInternalServerError, code: serverError}.write(w)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), claimsKey{}, claims)))
	})
}

func (v *Verifier) logRefusal(ctx context.Context, reason string) {
	if v != nil && v.log != nil {
		v.log.InfoContext(ctx, "request refused", "reason", reason)
	}
}

// bearerToken returns the request's token, or why there is none.
func bearerToken(h http.Header) (string, *refusal) {
	values := h["Authorization"]
	if len(values) > 1 {
		return "", &refusal{status: http.StatusBadRequest, code: invalidRequest, reason: "several Authorization headers"}
	}
	none := &refusal{status: http.StatusUnauthorized, reason: "no bearer token"}
	if len(values) == 0 {
		return "", none
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", none
	}
	if token = strings.TrimLeft(token, " "); !wire.IsToken(token) {
		return "", &refusal{status: http.StatusBadRequest, code: invalidRequest, reason: "a malformed Authorization header"}
	}
	return token, nil
}

// answerTo is the answer to an error of Verify.
func answerTo(err error) refusal {
	if errors.Is(err, ErrInvalidToken) {
		return refusal{status: http.StatusUnauthorized, code: invalidToken}
	}
	a := refusal{status: http.StatusServiceUnavailable, code: unavailable, retryAfter: minRetryAfter}
	if o := (*outage)(nil); errors.As(err, &o) {
		a.retryAfter = max(minRetryAfter, int(time.Until(o.next).Seconds())+1)
	}
	return a
}

// RequirePermissions returns a middleware for use behind a [Verifier]'s handler. It
// passes requests whose token has all of the permissions. It answers others with
// 403 insufficient_scope. With no permissions, any good token passes.
//
// It answers 500 to a request that did not pass a Verifier: the service is wrong,
// and no other token would help. It also answers 500 to every request if one of
// permissions is malformed (RFC 6749, section 3.3).
func RequirePermissions(permissions ...string) func(http.Handler) http.Handler {
	required := slices.Clone(permissions)
	possible := !slices.ContainsFunc(required, func(p string) bool { return !isScopeToken(p) })
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			claims, ok := FromContext(r.Context())
			if !ok || !claims.Verified || !possible || next == nil {
				refusal{status: http.StatusInternalServerError, code: serverError}.write(w)
				return
			}
			for _, p := range required {
				if !slices.Contains(claims.Permissions, p) {
					refusal{status: http.StatusForbidden, code: insufficientScope, scope: strings.Join(required, " ")}.write(w)
					return
				}
			}
			next.ServeHTTP(w, r)
		})
	}
}

// isScopeToken reports whether s is RFC 6749's scope-token (section 3.3).
func isScopeToken(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}

// refusal is the answer to a request that is not passed on.
type refusal struct {
	status     int
	code       string // "": none, because there was no token (RFC 6750, section 3.1)
	scope      string // the required permissions
	retryAfter int    // seconds; 0: no header
	reason     string // for the log
}

func (a refusal) write(w http.ResponseWriter) {
	h := w.Header()
	if a.status < http.StatusInternalServerError {
		// A realm, because a challenge must have a parameter (RFC 6750, section 3).
		challenge := `Bearer realm="authsec"`
		if a.code != "" {
			challenge += `, error="` + a.code + `"`
		}
		if a.scope != "" {
			challenge += `, scope="` + a.scope + `"`
		}
		h.Set("WWW-Authenticate", challenge)
	}
	if a.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(a.retryAfter))
	}
	body := map[string]any{"status": a.status}
	if a.code != "" {
		body["error"] = a.code
	}
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "application/json")
	w.WriteHeader(a.status)
	json.NewEncoder(w).Encode(body) // fails only if the client has gone
}
