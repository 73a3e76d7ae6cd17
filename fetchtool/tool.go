// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package fetchtool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/authsec-go/authsec"
)

// askAnewAfter is the shortest time between two requests to AuthSec because a
// permission is missing.
const askAnewAfter = 30 * time.Second

// Tool fetches from a protected API for a language model. Make one with [New];
// it is safe for concurrent use, and there is nothing to close.
type Tool struct {
	name, description string
	schema            []byte

	scope       scope
	methods     []string // upper case; not empty
	permissions []string
	maxAnswer   int
	maxBody     int
	timeout     time.Duration

	source *authsec.Source
	client *http.Client

	mu    sync.Mutex // guards asked
	asked time.Time  // when AuthSec was last asked for a missing permission
}

// Name is the tool's name.
func (t *Tool) Name() string { return t.name }

// Description tells a model what the tool does, and which URLs and methods are
// permitted.
func (t *Tool) Description() string { return t.description }

// Call fetches what a model asks for. It has the signature with which agent frameworks
// call a tool. The input is a URL, a path, or a JSON object as [Tool.Schema]
// describes it.
//
// A failure that a model can act upon or report is returned as text, with a nil
// error, because frameworks end the whole run on an error. Only two failures are
// errors: the end of ctx, and an [*Error] that is [Misconfigured].
func (t *Tool) Call(ctx context.Context, input string) (string, error) {
	if t == nil || t.client == nil {
		return "", errNotMade
	}
	req, bad := t.parse(input)
	if bad != nil {
		return bad.forModel(), nil
	}
	result, err := t.Fetch(ctx, req)
	var e *Error
	switch {
	case err == nil:
		return result.String(), nil
	case errors.As(err, &e) && e.Kind != Misconfigured:
		return e.forModel(), nil
	}
	return "", err
}

var errNotMade = errors.New("fetchtool: this Tool was not made by New")

// Fetch is [Tool.Call] for structured input. Its error is an [*Error], or the
// end of ctx.
func (t *Tool) Fetch(ctx context.Context, r Request) (*Result, error) {
	if t == nil || t.client == nil {
		return nil, errNotMade
	}
	if ctx.Err() != nil {
		return nil, ended(ctx)
	}
	r, bad := t.checked(r)
	if bad != nil {
		return nil, bad
	}
	to, err := t.scope.resolve(r.URL)
	if err != nil {
		return nil, fail(URLRefused, "The URL %v. %s", err, t.urlHint())
	}
	bounded, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	seen := new(seenSecrets)
	result, bad := t.fetch(context.WithValue(bounded, seenKey{}, seen), seen, to, r)
	switch {
	case bad == nil:
		return result, nil
	case ctx.Err() != nil:
		return nil, ended(ctx)
	}
	return nil, bad
}

// fetch makes the request, within ctx, and adds to seen the secrets that no text may show.
func (t *Tool) fetch(ctx context.Context, seen *seenSecrets, to target, r Request) (*Result, *Error) {
	delegation, err := t.delegation(ctx)
	if err != nil {
		return nil, failed(ctx, t.timeout, sent{}, err, nil)
	}
	seen.add(delegation.ClientID)
	req, err := http.NewRequestWithContext(ctx, r.Method, to.String(), strings.NewReader(r.Body))
	if err != nil {
		return nil, failed(ctx, t.timeout, sent{}, err, nil)
	}
	req.URL = to.url() // the form that was checked, not parsed again
	if r.Body == "" {
		req.Body, req.GetBody = nil, nil
	}
	req.Header.Set("Accept", "application/json, text/*;q=0.9, */*;q=0.1")
	if r.ContentType != "" {
		req.Header.Set("Content-Type", r.ContentType)
	}
	resp, err := t.client.Do(req)
	if err != nil {
		return nil, failed(ctx, t.timeout, sent{method: r.Method}, err, seen.all())
	}
	defer resp.Body.Close()
	done, secrets := sent{r.Method, resp.StatusCode}, seen.all()
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		result, err := readText(resp, done, secrets, t.maxAnswer)
		if err != nil {
			return nil, failed(ctx, t.timeout, done, err, secrets)
		}
		return result, nil
	}
	e := statusError(resp)
	if answer, err := readText(resp, done, secrets, min(maxExcerpt, t.maxAnswer)); err == nil {
		e.Answer = answer.Text
		if answer.Cut {
			e.Answer += "\n[Cut here.]"
		}
	}
	return nil, e
}

// delegation returns the delegation, which has all of Config.Permissions.
func (t *Tool) delegation(ctx context.Context) (*authsec.Delegation, error) {
	d, err := t.source.Delegation(ctx)
	if err != nil || d.HasAllPermissions(t.permissions...) {
		return d, err
	}
	if t.mayAskAnew() {
		if _, err := t.source.Refresh(ctx); err != nil && ctx.Err() != nil {
			return nil, err
		}
		if d, err = t.source.Delegation(ctx); err != nil || d.HasAllPermissions(t.permissions...) {
			return d, err
		}
	}
	missing := slices.DeleteFunc(slices.Clone(t.permissions), d.HasPermission)
	return nil, fail(MissingPermission, "This agent's delegation lacks %s. %s", strings.Join(missing, ", "), askAdmin)
}

// mayAskAnew reports whether a call may ask AuthSec for a newer delegation now.
func (t *Tool) mayAskAnew() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if !t.asked.IsZero() && now.Sub(t.asked) < askAnewAfter {
		return false
	}
	t.asked = now
	return true
}

// seenSecrets are the client ID and the tokens of one call's requests: more than
// one if a rejected token was replaced.
type seenSecrets struct {
	mu      sync.Mutex
	secrets []string
}

type seenKey struct{}

func (s *seenSecrets) add(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if secret != "" && !slices.Contains(s.secrets, secret) {
		s.secrets = append(s.secrets, secret)
	}
}

func (s *seenSecrets) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.secrets)
}

// witness is a base transport that notes the tokens that pass through it.
type witness struct{ base http.RoundTripper }

func (w witness) RoundTrip(req *http.Request) (*http.Response, error) {
	if seen, ok := req.Context().Value(seenKey{}).(*seenSecrets); ok {
		_, token, _ := strings.Cut(req.Header.Get("Authorization"), " ")
		seen.add(token)
	}
	return w.base.RoundTrip(req)
}

// String returns the tool's name, methods and URLs.
func (t *Tool) String() string {
	if t == nil || t.client == nil {
		return "fetchtool.Tool{}"
	}
	return fmt.Sprintf("fetchtool.Tool{%s: %s}", t.name, t.permitted())
}

// Format prints String for every verb.
func (t *Tool) Format(f fmt.State, _ rune) { fmt.Fprint(f, t.String()) }

// LogValue returns String for slog.
func (t *Tool) LogValue() slog.Value { return slog.StringValue(t.String()) }
