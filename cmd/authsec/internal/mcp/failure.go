// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/cmd/authsec/internal/answers"
)

// The bridge's own JSON-RPC errors. The codes are in the range that JSON-RPC leaves
// to servers, and MCP and its SDKs do not use them.
const (
	codeNotDelegated = -32011 // there is no token, or the MCP server rejects it
	codeForbidden    = -32012 // the token lacks a permission
	codeUnavailable  = -32013 // no answer, or none that is MCP
)

func failure(code int, reason, format string, args ...any) *rpcError {
	return &rpcError{Code: code, Message: fmt.Sprintf(format, args...), Data: []byte(`{"reason":"` + reason + `"}`)}
}

const goesOn = "An admin must delegate to it again, in AuthSec. This session then goes on: repeat the call."

// explain returns what a host is told about a request without an answer. It names
// neither the agent nor its AuthSec server.
func (b *bridge) explain(err error) *rpcError {
	var told *rpcError
	var e *authsec.Error
	switch {
	case errors.As(err, &told):
		return told
	case errors.Is(err, authsec.ErrNotDelegated):
		return failure(codeNotDelegated, "not_delegated", "Nothing is delegated to this agent, or its delegation was revoked or has expired. %s", goesOn)
	case errors.Is(err, authsec.ErrInvalidClientID):
		return failure(codeNotDelegated, "misconfigured", "AuthSec does not accept this agent's client ID. Tell the user to correct AUTHSEC_AGENT_CLIENT_ID.")
	case errors.Is(err, authsec.ErrUnauthorized):
		return failure(codeNotDelegated, "misconfigured", "AuthSec does not accept this agent's own credential, or wants one. Tell the user to set AUTHSEC_API_TOKEN or AUTHSEC_API_TOKEN_FILE.")
	case errors.As(err, &e):
		if e.RetryAfter > 0 {
			return failure(codeUnavailable, "no_token", "This agent can't get its token for now. Repeat the call in %v, not before.", e.RetryAfter.Round(time.Second))
		}
		return failure(codeUnavailable, "no_token", "This agent can't get its token for now. Repeat the call later.")
	}
	return failure(codeUnavailable, "unreachable", "The MCP server at %s gave no whole answer: %s. Repeat the call later.", b.host, answers.Failure(err))
}

// fault is an error with words of our own.
type fault = answers.Fault

// refused passes on an answer with a status of 3xx to 5xx.
func (x *exchange) refused(ctx context.Context, resp *http.Response, body []byte) {
	m, bad := parse(bytes.TrimSpace(body))
	isError := bad == nil && m.kind == response && m.result == nil && resp.StatusCode != http.StatusUnauthorized
	if !isError || len(x.m.requests()) == 0 {
		x.fail(ctx, x.b.statusError(ctx, resp))
		return
	}
	if x.isOpen(m.id) {
		x.deliver(body, session{})
	}
	e := object(m.raw)["error"] // servers write an ID of null
	for _, id := range x.remaining() {
		if !x.isGiven() {
			x.b.out.write(encodeResponse(id, "error", e))
		}
		x.settle(id)
	}
}

func (x *exchange) isOpen(id json.RawMessage) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	_, ours := x.open[idKey(id)]
	return ours
}

// unknownMethod reports whether the body of a 404 says that the server lacks the
// method, and so has the session.
func (x *exchange) unknownMethod(body []byte) bool {
	m, bad := parse(bytes.TrimSpace(body))
	return bad == nil && m.kind == response && x.isOpen(m.id) && m.errorCode() == codeMethodNotFound
}

// statusError is what a host is told about an answer that is no success.
func (b *bridge) statusError(ctx context.Context, resp *http.Response) *rpcError {
	status := answers.Status(resp.StatusCode) // not the server's own words, which may hold the token
	switch code := resp.StatusCode; {
	case code == http.StatusUnauthorized:
		if _, err := b.source.TokenContext(ctx); err != nil && ctx.Err() == nil {
			return b.explain(err)
		}
		return failure(codeNotDelegated, "token_rejected", "The MCP server at %s does not accept this agent's token (%s): its delegation may have been revoked. %s", b.host, status, goesOn)
	case code == http.StatusForbidden:
		return failure(codeForbidden, "forbidden", "The MCP server at %s does not permit this to this agent (%s). Only an admin can change that, with a trust delegation in AuthSec.", b.host, status)
	case code == http.StatusTooManyRequests || code >= 500:
		return failure(codeUnavailable, "unavailable", "The MCP server at %s can't answer for now (%s). Repeat the call later.", b.host, status)
	case code < 400:
		return failure(codeUnavailable, "redirect", "The MCP server at %s redirects elsewhere (%s), and that is not followed with the token. Tell the user to give authsec mcp connect the final URL.", b.host, status)
	}
	return failure(codeUnavailable, "not_mcp", "There is no MCP server that speaks streamable HTTP at this URL on %s (%s). Tell the user to check the URL that authsec mcp connect was given.", b.host, status)
}
