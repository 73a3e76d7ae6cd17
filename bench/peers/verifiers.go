// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	jwtmiddleware "github.com/auth0/go-jwt-middleware/v2"
	"github.com/auth0/go-jwt-middleware/v2/validator"
	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/verify"
	"github.com/golang-jwt/jwt/v5"
)

// Names of the verifiers, besides authsec's package verify.
const (
	AuthSecNew    = "authsec, a new token"
	JWT           = "golang-jwt"
	JWTMiddleware = "go-jwt-middleware"
)

// Permission and Audience are those of the tokens that verifiers must accept.
const (
	Permission = "billing:read"
	Audience   = "billing-api"
)

// Verifier makes a handler that answers 200 to requests with a good token of the server
// that permits Permission.
type Verifier struct {
	Name    string
	Handler func(*authsectest.Server) (http.Handler, error)
}

// Verifiers has the measured ones, authsec first. All check signature, algorithm, issuer,
// audience and times, and pass the claims on in the request's context. verify gets the
// key from the server, once. The others have it. AuthSecNew keeps no verified tokens, so
// that each request's token is new to it.
var Verifiers = []Verifier{
	{AuthSec, func(srv *authsectest.Server) (http.Handler, error) { return verifyHandler(srv, 0) }},
	{AuthSecNew, func(srv *authsectest.Server) (http.Handler, error) { return verifyHandler(srv, -1) }},
	{JWT, jwtHandler},
	{JWTMiddleware, middlewareHandler},
}

func permit(w http.ResponseWriter, permissions []string) {
	if !slices.Contains(permissions, Permission) {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	w.WriteHeader(http.StatusOK)
}

func verifyHandler(srv *authsectest.Server, cacheSize int) (http.Handler, error) {
	v, err := verify.New(verify.Config{
		BaseURL: srv.URL, Tenants: []string{authsectest.TenantID}, Audience: Audience, HTTPClient: srv.Client(),
		CacheSize: cacheSize,
	})
	if err != nil {
		return nil, err
	}
	return v.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, ok := verify.FromContext(r.Context())
		if !ok {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		permit(w, claims.Permissions)
	})), nil
}

const issuer = "spiffe://" + authsectest.TenantID

type jwtClaimsKey struct{}

// jwtHandler is the smallest handler that golang-jwt's users write.
func jwtHandler(srv *authsectest.Server) (http.Handler, error) {
	key, err := srv.Keyfunc(nil)
	if err != nil {
		return nil, err
	}
	var keyfunc jwt.Keyfunc = func(*jwt.Token) (any, error) { return key, nil }
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer(issuer), jwt.WithAudience(Audience),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt())
	next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, ok := r.Context().Value(jwtClaimsKey{}).(*authsec.Claims)
		if !ok {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		permit(w, claims.Permissions)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		claims := new(authsec.Claims)
		if _, err := parser.ParseWithClaims(token, claims, keyfunc); err != nil || !ok {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), jwtClaimsKey{}, claims)))
	}), nil
}

// delegationClaims are the claims that go-jwt-middleware reads besides the registered
// ones.
type delegationClaims struct {
	TenantID    string   `json:"tenant_id"`
	UserID      string   `json:"user_id"`
	Email       string   `json:"email"`
	AgentType   string   `json:"agent_type"`
	ClientID    string   `json:"client_id"`
	Permissions []string `json:"permissions"`
}

func (*delegationClaims) Validate(context.Context) error { return nil }

func middlewareHandler(srv *authsectest.Server) (http.Handler, error) {
	key, err := srv.Keyfunc(nil)
	if err != nil {
		return nil, err
	}
	v, err := validator.New(func(context.Context) (any, error) { return key, nil }, validator.RS256, issuer, []string{Audience},
		validator.WithCustomClaims(func() validator.CustomClaims { return new(delegationClaims) }))
	if err != nil {
		return nil, fmt.Errorf("go-jwt-middleware: %w", err)
	}
	return jwtmiddleware.New(v.ValidateToken).CheckJWT(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		validated, ok := r.Context().Value(jwtmiddleware.ContextKey{}).(*validator.ValidatedClaims)
		if !ok {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		permit(w, validated.CustomClaims.(*delegationClaims).Permissions)
	})), nil
}
