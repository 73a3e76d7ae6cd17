// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"math/rand/v2"
	"net/url"
	"strings"

	"github.com/authsec-go/authsec/internal/redact"
	"github.com/authsec-go/authsec/internal/wire"
)

// What an admin must do. Editing a trust delegation in the console does not change
// the agent's token, so the texts also name the endpoint.
const (
	delegate      = "an admin must delegate to it, in the AuthSec console or by POST /authsec/uflow/admin/agents/:id/delegate-token"
	delegateAgain = "an admin must delegate to it again, in the AuthSec console or by POST /authsec/uflow/admin/agents/:id/delegate-token"
)

// failure returns the Error for an answer other than 200. It does not show the secrets.
func (s *server) failure(f wire.Failure, secrets ...string) *Error {
	show := shower(s.clientID, append(secrets, f.Echo)...)
	message, details := show(f.Message), show(f.Details)
	answer := statusText(f.Status)
	for _, text := range []string{message, details} {
		if text != "" {
			answer += ": " + text
		}
	}
	var reason string
	var is []error
	switch f.Kind {
	case wire.Redirect:
		reason, is = s.shown+" redirects to "+s.location(f.Location, show)+", and redirects are not followed: set the base URL to the server itself", []error{ErrInvalidResponse}
	case wire.InvalidClientID:
		reason, is = "the server does not accept its client ID", []error{ErrInvalidClientID, nonRetriable{}}
	case wire.SessionUnknown:
		reason, is = "the server does not know the session of Config.Credential's token; a server whose database is away says the same", []error{ErrUnauthorized}
	case wire.Unauthorized:
		reason, is = "the server rejected Config.Credential's token", []error{ErrUnauthorized, nonRetriable{}}
		if s.credential == nil {
			reason = "the server wants a credential of the caller: set Config.Credential, or " + envAPIToken + " in the environment"
		}
	case wire.NotDelegated:
		reason, is = "the agent has no delegation, or its delegation was revoked or has expired: "+delegate, []error{ErrNotDelegated, nonRetriable{}}
	case wire.UnknownClient:
		reason, is = "the server does not know the agent: check the client ID; "+delegate+"; a server whose database is away says the same", []error{ErrNotDelegated, nonRetriable{}}
	case wire.Expired:
		reason, is = "its delegation has expired: "+delegateAgain, []error{ErrDelegationExpired, ErrNotDelegated, nonRetriable{}}
	case wire.RateLimited:
		reason, is = "the server accepts no more requests for now", []error{ErrRateLimited}
	case wire.Unavailable:
		reason = s.shown + " can't answer for now"
	default:
		reason, is = s.shown+" gave an answer that no AuthSec server gives (another service, or a gateway's page): check the base URL", []error{ErrInvalidResponse}
	}
	e := newError(s.agent, reason+" ("+answer+")", is...)
	e.Message, e.Details, e.RequestID = message, details, show(f.RequestID)
	e.RetryAfter = f.RetryAfter
	if f.Window > 0 { // so that processes that share a limit do not all ask at once
		e.RetryAfter = f.Window + rand.N(f.Window)
	}
	return e.answered(f.Status)
}

// location returns what may be shown of a redirect's target.
func (s *server) location(header string, show func(...string) string) string {
	u, err := s.endpoint.Parse(header)
	if err != nil {
		return "a malformed URL"
	}
	return show((&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String())
}

// shower returns a func that removes secrets from the server's texts and joins them.
func shower(clientID string, secrets ...string) func(texts ...string) string {
	return func(texts ...string) string {
		shown := make([]string, len(texts))
		for i, text := range texts {
			shown[i] = redact.Text(text, clientID, secrets...)
		}
		return strings.Join(shown, ",")
	}
}
