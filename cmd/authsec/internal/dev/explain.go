// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package dev

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/internal/redact"
	"github.com/authsec-go/authsec/internal/wire"
)

// The ends of explanations: what to do.
const (
	delegateAnew = "delegate with the curl line printed at the start"
	setClientID  = "set AUTHSEC_AGENT_CLIENT_ID as printed at the start"
	webPage      = "it has an Origin or another Host, so a web page may have caused it: use the URLs printed at the start, or --host"
)

// response are the fields of the AuthSec server's answers that explain them.
type response struct {
	Error       any       `json:"error"` // a text, or an object with a message
	Permissions []string  `json:"permissions"`
	ExpiresAt   time.Time `json:"expires_at"`
}

// message is the answer's error as a text.
func (r response) message() string {
	switch e := r.Error.(type) {
	case string:
		return e
	case map[string]any:
		text, _ := e["message"].(string)
		return text
	}
	return ""
}

// explainAuthSec says what the AuthSec server answered, and what to do about a denial.
func (s *server) explainAuthSec(r *http.Request, a *answer) string {
	if a.note != "" {
		return a.note
	}
	var body response
	_ = json.Unmarshal(a.body.Bytes(), &body) // not every answer is JSON
	path := r.URL.Path
	if strings.HasPrefix(path, userFlow) {
		path = "/authsec" + path
	}
	switch {
	case a.status == http.StatusTooManyRequests:
		return fmt.Sprintf("over the limit of %d requests a minute: wait a minute and ask less often, or set --rate-limit", s.opts.rateLimit)
	case path == authsectest.EndpointPath && r.Method == http.MethodGet:
		return s.explainToken(r, a.status, body)
	case strings.HasPrefix(path, agentsPath) && a.status == http.StatusNotFound && body.message() != "":
		return explainAdmin(body.message())
	case a.status == http.StatusNotFound && body.message() == "":
		return "there is no such path, or it wants another method: the AuthSec server's URL is printed at the start"
	}
	return body.message()
}

// explainToken explains an answer of the endpoint.
func (s *server) explainToken(r *http.Request, status int, body response) string {
	id := cmp.Or(r.URL.Query().Get("client_id"), r.Header.Get("X-Client-ID"))
	canonical := wire.CanonicalID(id)
	switch status {
	case http.StatusOK:
		return fmt.Sprintf("a token with permissions %s, which expires in %v", list(body.Permissions), time.Until(body.ExpiresAt).Round(time.Second))
	case http.StatusUnauthorized:
		return body.message() + ": set AUTHSEC_API_TOKEN as printed at the start; AuthSec's own SDKs send none, so they need --generation older"
	case http.StatusBadRequest:
		return body.message() + ": " + setClientID
	case http.StatusGone:
		return "the delegation has expired: " + delegateAnew + "; until then the answer is 404"
	case http.StatusNotFound:
		switch {
		case canonical != s.opts.clientID:
			return fmt.Sprintf("agent %s is unknown here: %s, or start with --client-id", redact.ShortID(id), setClientID)
		case canonical != id:
			return "the client ID must be in lower case with hyphens: " + setClientID
		}
		return "no delegation is active: " + delegateAnew
	}
	return body.message()
}

// explainAdmin explains a 404 of an admin path.
func explainAdmin(message string) string {
	if message == "Agent not found" {
		return message + ": the only agent is the one of the curl lines printed at the start"
	}
	return message + ": there is nothing to revoke"
}

// explainAPI says what the API answered, and what to do about a denial.
func (s *server) explainAPI(r *http.Request, a *answer) string {
	var body struct {
		ClientID    string   `json:"client_id"`
		Permissions []string `json:"permissions"`
	}
	reason := strings.TrimPrefix(a.note, "verify: ")
	switch {
	case a.status == http.StatusOK && json.Unmarshal(a.body.Bytes(), &body) == nil:
		return fmt.Sprintf("agent %s with permissions %s", redact.ShortID(body.ClientID), list(body.Permissions))
	case a.status == http.StatusUnauthorized && r.Header.Get("Authorization") == "":
		return "no bearer token: send the token as Authorization: Bearer, such as authsec fetch does"
	case a.status == http.StatusUnauthorized && reason == "":
		return "the token was revoked, or a newer one replaced it: get a token again; if there is none, " + delegateAnew
	case a.status == http.StatusUnauthorized:
		return reason + ": get a token again; it must be from this server, for audience " + s.opts.audience
	case a.status == http.StatusForbidden:
		return "the token lacks a permission of --require " + list(s.opts.require) + ": delegate it, and get a token again"
	}
	return reason
}
