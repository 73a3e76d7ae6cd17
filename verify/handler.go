// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
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

// passedKey is the context key of a request's passed.
type passedKey struct{}

// passed is what a Verifier's handler adds to a request.
type passed struct {
	claims   *authsec.Claims
	metadata string // Config.ResourceMetadata, for a later challenge
}

// FromContext returns the claims of the token that a [Verifier]'s handler accepted.
// All handlers of the request share them: do not change them.
func FromContext(ctx context.Context) (*authsec.Claims, bool) {
	if p, ok := ctx.Value(passedKey{}).(*passed); ok {
		return p.claims, true
	}
	return nil, false
}

// Handler returns a handler that passes requests with a good token to next, with
// the claims in their context ([FromContext]). It reads the token from the
// Authorization header only (RFC 6750, section 2.1). It answers other requests
// itself, with a challenge and without a reason (section 3):
//
//	401                      no token, or credentials of another kind
//	400 invalid_request      several Authorization headers, or a malformed one
//	401 invalid_token        a token that is not good
//	503                      the token can't be verified for now (ErrUnavailable)
//
// A 401 in place of the 503 would say that the token is invalid, and clients would
// drop a good token.
func (v *Verifier) Handler(next http.Handler) http.Handler {
	if v == nil {
		v = new(Verifier)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, problem := bearerToken(r.Header)
		var claims *authsec.Claims
		if problem == nil {
			var err error
			if claims, err = v.Verify(r.Context(), token); err != nil && wire.IsToken(token) {
				problem = answerTo(err)
			} else if err != nil {
				problem = malformed
			}
		}
		if problem != nil {
			record{slog.LevelInfo, "request rejected", []any{"reason", problem.reason}}.writeTo(r.Context(), v.log)
			problem.write(w, v.metadata)
			return
		}
		if next == nil {
			rejection{status: http.StatusInternalServerError, code: serverError}.write(w, v.metadata)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), passedKey{}, &passed{claims, v.metadata})))
	})
}

// bearerToken returns the request's token, or why there is none. The token may be
// malformed: Verify would reject it.
func bearerToken(h http.Header) (string, *rejection) {
	values := h["Authorization"]
	if len(values) > 1 {
		return "", &rejection{status: http.StatusBadRequest, code: invalidRequest, reason: "several Authorization headers"}
	}
	none := &rejection{status: http.StatusUnauthorized, reason: "no bearer token"}
	if len(values) == 0 {
		return "", none
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", none
	}
	return strings.TrimLeft(token, " "), nil
}

var malformed = &rejection{status: http.StatusBadRequest, code: invalidRequest, reason: "a malformed Authorization header"}

// answerTo is the answer to an error of Verify.
func answerTo(err error) *rejection {
	if errors.Is(err, ErrInvalidToken) {
		return &rejection{status: http.StatusUnauthorized, code: invalidToken, reason: err.Error()}
	}
	a := &rejection{status: http.StatusServiceUnavailable, code: unavailable, retryAfter: minRetryAfter, reason: err.Error()}
	if o := (*outage)(nil); errors.As(err, &o) {
		a.retryAfter = max(minRetryAfter, int(time.Until(o.next).Seconds())+1)
	}
	return a
}

// RequirePermissions returns a middleware for use behind a [Verifier]'s handler. It
// passes requests whose token has all of the permissions. It answers others with
// 403 insufficient_scope. If permissions is empty, any good token passes.
//
// It answers 500 to a request that did not pass a Verifier: that is a fault of the
// service, and no other token would help. It also answers 500 to every request if one of
// permissions is malformed (RFC 6749, section 3.3).
func RequirePermissions(permissions ...string) func(http.Handler) http.Handler {
	required := slices.Clone(permissions)
	possible := !slices.ContainsFunc(required, func(p string) bool { return !isScopeToken(p) })
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p, ok := r.Context().Value(passedKey{}).(*passed)
			if !ok || !p.claims.Verified || !possible || next == nil {
				rejection{status: http.StatusInternalServerError, code: serverError}.write(w, "")
				return
			}
			for _, permission := range required {
				if !slices.Contains(p.claims.Permissions, permission) {
					rejection{status: http.StatusForbidden, code: insufficientScope, scope: strings.Join(required, " ")}.write(w, p.metadata)
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

// rejection is the answer to a request that is not passed on.
type rejection struct {
	status     int
	code       string // "": none, because there was no token (RFC 6750, section 3.1)
	scope      string // the required permissions
	retryAfter int    // seconds; 0: no header
	reason     string // for the log
}

func (a rejection) write(w http.ResponseWriter, metadata string) {
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
		if metadata != "" { // RFC 9728, section 5.1
			challenge += `, resource_metadata="` + metadata + `"`
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
