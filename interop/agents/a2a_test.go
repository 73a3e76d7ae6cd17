// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package agents_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/a2aproject/a2a-go/a2a"
	"github.com/a2aproject/a2a-go/a2aclient"
	"github.com/a2aproject/a2a-go/a2aclient/agentcard"
	"github.com/a2aproject/a2a-go/a2asrv"
	"github.com/a2aproject/a2a-go/a2asrv/eventqueue"
	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/interop/internal/itest"
	"github.com/authsec-go/authsec/verify"
)

// remote is an agent that others call. It answers with its permissions.
type remote struct {
	hold chan struct{} // nil: it sends one message; else events, the last one when hold is closed
}

func (r remote) Execute(ctx context.Context, req *a2asrv.RequestContext, queue eventqueue.Queue) error {
	if r.hold != nil {
		if err := queue.Write(ctx, a2a.NewStatusUpdateEvent(req, a2a.TaskStateWorking, nil)); err != nil {
			return err
		}
		select {
		case <-r.hold:
		case <-ctx.Done():
			return ctx.Err()
		}
		done := a2a.NewStatusUpdateEvent(req, a2a.TaskStateCompleted, nil)
		done.Final = true
		return queue.Write(ctx, done)
	}
	text := "3 invoices"
	if claims, ok := verify.FromContext(ctx); ok {
		text += " for " + strings.Join(claims.Permissions, " ") + ", " + claims.ID
	}
	return queue.Write(ctx, a2a.NewMessage(a2a.MessageRoleAgent, a2a.TextPart{Text: text}))
}

func (remote) Cancel(context.Context, *a2asrv.RequestContext, eventqueue.Queue) error { return nil }

// a2aServer serves the agent's card to everybody, and the agent behind guard.
func a2aServer(t *testing.T, s *itest.Stack, agent remote, guard func(http.Handler) http.Handler) string {
	mux := http.NewServeMux()
	url := s.Serve(t, mux).URL
	mux.Handle("/invoke", guard(a2asrv.NewJSONRPCHandler(a2asrv.NewHandler(agent))))
	mux.Handle(a2asrv.WellKnownAgentCardPath, a2asrv.NewStaticAgentCardHandler(card(url+"/invoke")))
	return url
}

func card(url string) *a2a.AgentCard {
	return &a2a.AgentCard{
		Name: "billing", URL: url, PreferredTransport: a2a.TransportProtocolJSONRPC, ProtocolVersion: "0.3.0",
		DefaultInputModes: []string{"text"}, DefaultOutputModes: []string{"text"},
		Capabilities: a2a.AgentCapabilities{Streaming: true},
	}
}

// guarded is a guard that verifies tokens.
func guarded(s *itest.Stack) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler { return s.Server.API(next, "billing:read") }
}

// newA2A makes a client for the agent at url.
func newA2A(ctx context.Context, cfg authsec.Config, url string) (*authsec.Source, *a2aclient.Client, error) {
	// docs: begin agents-a2a
	httpClient, err := authsec.NewClient(cfg)
	if err != nil {
		return nil, nil, err
	}
	card, err := agentcard.NewResolver(httpClient).Resolve(ctx, url)
	if err != nil {
		return nil, nil, err
	}
	client, err := a2aclient.NewFromCard(ctx, card, a2aclient.WithJSONRPCTransport(httpClient))
	// docs: end agents-a2a
	return itest.SourceOf(httpClient), client, err
}

func question() *a2a.MessageSendParams {
	return &a2a.MessageSendParams{Message: a2a.NewMessage(a2a.MessageRoleUser, a2a.TextPart{Text: "How many invoices are there?"})}
}

// askA2A returns the remote agent's answer.
func askA2A(ctx context.Context, client *a2aclient.Client) (string, error) {
	result, err := client.SendMessage(ctx, question())
	if err != nil {
		return "", err
	}
	message, ok := result.(*a2a.Message)
	if !ok || len(message.Parts) != 1 {
		return "", fmt.Errorf("result: %T", result)
	}
	return message.Parts[0].(a2a.TextPart).Text, nil
}

func TestA2A(t *testing.T) {
	ctx, s := itest.Timely(t), itest.New(t)
	url := a2aServer(t, s, remote{}, guarded(s))
	src, client, err := newA2A(ctx, s.Config(url), url)
	if err != nil {
		t.Fatal(err)
	}
	rejected, without := s.Live(t, src, func() error { _, err := askA2A(ctx, client); return err })
	if !strings.Contains(rejected.Error(), "401") {
		t.Errorf("after the revocation: %v, want an error that names the 401", rejected)
	}
	s.CheckNotDelegated(t, without)
}

func TestA2AReplacesToken(t *testing.T) {
	ctx, s := itest.Timely(t), itest.New(t)
	url := a2aServer(t, s, remote{}, guarded(s))
	_, client, err := newA2A(ctx, s.Config(url), url)
	if err != nil {
		t.Fatal(err)
	}
	s.Replace(t, func() error { _, err := askA2A(ctx, client); return err })
}

// Events arrive while the remote agent is still working. A revocation does not end the
// stream.
func TestA2AStream(t *testing.T) {
	ctx, s := itest.Timely(t), itest.New(t)
	agent := remote{hold: make(chan struct{})}
	url := a2aServer(t, s, agent, guarded(s))
	_, client, err := newA2A(ctx, s.Config(url), url)
	if err != nil {
		t.Fatal(err)
	}
	var states []a2a.TaskState
	for event, err := range client.SendStreamingMessage(ctx, question()) {
		if err != nil {
			t.Fatal(err)
		}
		update, ok := event.(*a2a.TaskStatusUpdateEvent)
		if !ok {
			continue
		}
		if states = append(states, update.Status.State); len(states) == 1 {
			s.Revoke()
			close(agent.hold)
		}
	}
	if fmt.Sprint(states) != fmt.Sprint([]a2a.TaskState{a2a.TaskStateWorking, a2a.TaskStateCompleted}) {
		t.Errorf("states %v, want working and completed", states)
	}
}

// A card can name any URL. The token goes only to the listed hosts.
func TestA2ACardThatLeadsElsewhere(t *testing.T) {
	ctx, s := itest.Timely(t), itest.New(t)
	outside := itest.New(t)
	elsewhere := outside.Serve(t, a2asrv.NewJSONRPCHandler(a2asrv.NewHandler(remote{})))
	host := s.Serve(t, a2asrv.NewStaticAgentCardHandler(card(elsewhere.URL)))
	_, client, err := newA2A(ctx, s.Config(host.URL), host.URL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := askA2A(ctx, client); err != nil {
		t.Fatal(err)
	}
	if n, seen := outside.Requests(), outside.Last(); n != 1 || seen != "" {
		t.Errorf("the other host got %d requests, the last with a token: %t; want one without", n, seen != "")
	}
}

// The remote agent verifies its callers' tokens.
func TestA2AServer(t *testing.T) {
	ctx, s := itest.Timely(t), itest.New(t)
	v, err := verify.New(verify.Config{BaseURL: s.URL, Tenants: []string{authsectest.TenantID}, Audience: "billing-api", HTTPClient: s.Client()})
	if err != nil {
		t.Fatal(err)
	}
	url := a2aServer(t, s, remote{}, func(invoke http.Handler) http.Handler {
		mayRead := verify.RequirePermissions("billing:read")
		handler := v.Handler(mayRead(invoke)) // invoke: from a2asrv.NewJSONRPCHandler
		return handler
	})
	src, client, err := newA2A(ctx, s.Config(url), url)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for range 2 {
		text, err := askA2A(ctx, client)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(text, "3 invoices for billing:read, ") {
			t.Errorf("the agent sees %q, want the token's claims", text)
		}
		seen[text] = true
		s.Redelegate(t, src)
	}
	if len(seen) != 2 {
		t.Errorf("two calls with two tokens: the agent saw %v", seen)
	}
	anybody, err := a2aclient.NewFromCard(ctx, card(url+"/invoke"), a2aclient.WithJSONRPCTransport(http.DefaultClient))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := askA2A(ctx, anybody); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("without a token: %q, %v, want a 401", text, err)
	}
}
