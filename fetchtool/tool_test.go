// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package fetchtool_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/fetchtool"
)

// The shape that langchaingo's tools.Tool has.
var _ interface {
	Name() string
	Description() string
	Call(ctx context.Context, input string) (string, error)
} = (*fetchtool.Tool)(nil)

// TestCallOverTLS has both servers on TLS.
func TestCallOverTLS(t *testing.T) {
	srv := authsectest.NewTLSServer()
	defer srv.Close()
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"billing:read"}})
	api := httptest.NewUnstartedServer(srv.API(authsectest.Answer(200, `{"customer":42}`), "billing:read"))
	api.EnableHTTP2 = true
	api.StartTLS()
	defer api.Close()
	tool, err := fetchtool.New(fetchtool.Config{
		AuthSec: srv.Config(authsectest.ClientID), DownstreamURLs: []string{api.URL + "/v1"},
		Base: api.Client().Transport, Permissions: []string{"billing:read"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, input := range []string{"customers/42", "/customers/42", api.URL + "/v1/customers/42", " " + api.URL + "/v1/customers/42\n", `{"url":"customers/42"}`} {
		if got, err := tool.Call(callContext(t), input); err != nil || got != `{"customer":42}` {
			t.Errorf("%q: got %q, %v, want the customer", input, got, err)
		}
	}
	if n := srv.Fetches(); n != 1 {
		t.Errorf("got %d fetches of a token, want 1", n)
	}
}

func TestRevocationAndNewDelegationInTheMiddle(t *testing.T) {
	s, _ := newServers(t, text("ok"), nil)
	if got := s.call(t, "x"); got != "ok" {
		t.Fatalf("got %q, want ok", got)
	}
	s.Revoke(authsectest.ClientID)
	e := s.fail(t, fetchtool.Request{URL: "x"}, fetchtool.Unauthorized) // the API refuses, and AuthSec agrees
	wantIn(t, e.Advice, "revoked", "admin", "401")
	e = s.fail(t, fetchtool.Request{URL: "x"}, fetchtool.NotDelegated)
	wantIn(t, e.Advice, "admin", "Do not repeat")
	s.wantSecret(t, e.Error()+s.call(t, "x"))

	s.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"billing:read"}})
	for deadline := time.Now().Add(patience); s.call(t, "x") != "ok"; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("got %q after a new delegation, want ok", s.call(t, "x"))
		}
	}
}

// TestTokenReplacedInTheMiddleCostsTheModelNothing: the API rejects the token in
// service while there is a newer one.
func TestTokenReplacedInTheMiddleCostsTheModelNothing(t *testing.T) {
	s, _ := newServers(t, text("ok"), nil)
	if got := s.call(t, "x"); got != "ok" {
		t.Fatalf("got %q, want ok", got)
	}
	s.Revoke(authsectest.ClientID)
	s.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"billing:read"}})
	if got := s.call(t, "x"); got != "ok" {
		t.Errorf("got %q, want ok", got)
	}
}

func TestMissingPermissionIsRefusedBeforeTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := new(ledger)
		s := newStack(t, base, func(c *fetchtool.Config) { c.Permissions = []string{"billing:read", "users:read", "users:write"} })
		for range 10 {
			e := s.fail(t, fetchtool.Request{URL: "x"}, fetchtool.MissingPermission)
			wantIn(t, e.Advice, "lacks users:read, users:write.", "admin")
			s.wantSecret(t, e.Error())
			time.Sleep(2 * time.Second)
		}
		if sent := base.requests(); len(sent) > 0 {
			t.Errorf("got the requests %q, want none", sent)
		}
		if n := s.Fetches(); n != 2 {
			t.Errorf("got %d fetches of a token for 10 calls, want 2", n)
		}
		// An admin delegates more: it is noticed half a minute later at the latest.
		s.Delegate(authsectest.ClientID, authsectest.Delegation{Permissions: []string{"billing:read", "users:read", "users:write"}})
		time.Sleep(30 * time.Second)
		if got := s.call(t, "x"); got != "ok" {
			t.Errorf("got %q after a new delegation, want ok", got)
		}
	})
}

// TestStatusesTellTheModelWhatToDo has each answer of an API once. The tool's
// method is POST, so that nothing is repeated.
func TestStatusesTellTheModelWhatToDo(t *testing.T) {
	for _, c := range []struct {
		status int
		header string
		want   fetchtool.Kind
		after  time.Duration
		advice []string
	}{
		{300, "", fetchtool.BadStatus, 0, []string{"300"}},
		{302, "", fetchtool.BadStatus, 0, []string{"302"}}, // with no Location
		{400, "", fetchtool.BadStatus, 0, []string{"400 Bad Request", "Change the request"}},
		{401, "", fetchtool.Unauthorized, 0, []string{"401 Unauthorized", "admin"}},
		{403, "", fetchtool.Forbidden, 0, []string{"403 Forbidden", "does not permit", "admin"}},
		{404, "", fetchtool.NotFound, 0, []string{"404 Not Found", "Check the URL"}},
		{410, "", fetchtool.NotFound, 0, []string{"410 Gone"}},
		{422, "", fetchtool.BadStatus, 0, []string{"422"}},
		{429, "", fetchtool.RateLimited, 0, []string{"429", "Try again later"}},
		{429, "90", fetchtool.RateLimited, 90 * time.Second, []string{"Try again in 1m30s"}},
		{429, "99999999999999999999", fetchtool.RateLimited, 24 * time.Hour, []string{"Try again in 24h0m0s"}},
		{429, "1000000000", fetchtool.RateLimited, 24 * time.Hour, []string{"Try again in 24h0m0s"}},
		{429, "-5", fetchtool.RateLimited, 0, []string{"Try again later"}},
		{429, "date", fetchtool.RateLimited, time.Minute, []string{"Try again in 1m0s"}},
		{500, "", fetchtool.Unavailable, 0, []string{"500", "Try again later"}},
		{503, "120", fetchtool.Unavailable, 2 * time.Minute, []string{"503", "Try again in 2m0s"}},
	} {
		base := &ledger{handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if c.header == "date" {
				w.Header().Set("Date", "Tue, 24 Nov 2026 05:00:00 GMT")
				w.Header().Set("Retry-After", "Tue, 24 Nov 2026 05:01:00 GMT")
			} else if c.header != "" {
				w.Header().Set("Retry-After", c.header)
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(c.status)
			io.WriteString(w, `{"reason":"because"}`+strings.Repeat(" ", 10<<10))
		})}
		s := newStack(t, base, func(cfg *fetchtool.Config) { cfg.Methods = []string{"POST"} })
		e := s.fail(t, fetchtool.Request{URL: "x", Method: "POST"}, c.want)
		if e.StatusCode != c.status || e.RetryAfter != c.after {
			t.Errorf("%d %s: got status %d, after %v; want %d, %v", c.status, c.header, e.StatusCode, e.RetryAfter, c.status, c.after)
		}
		wantIn(t, e.Advice, c.advice...)
		got := s.call(t, `{"url":"x","method":"POST"}`)
		wantIn(t, got, "Error: "+e.Advice, `{"reason":"because"}`, "[Cut here.]")
		if len(got) > 3<<10 {
			t.Errorf("%d: got %d bytes, want the answer's beginning alone", c.status, len(got))
		}
		s.wantSecret(t, got+e.Error())
	}
}

func TestPassingFailuresAreRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := new(ledger)
		base.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if len(base.requests()) < 3 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			io.WriteString(w, "ok")
		})
		s := newStack(t, base, nil)
		if got := s.call(t, "x"); got != "ok" {
			t.Errorf("got %q, want ok at the third attempt", got)
		}
	})
}

// TestTimeoutBoundsTheWholeCall has an answer that never comes, one whose text
// never ends, and an AuthSec server that is slow.
func TestTimeoutBoundsTheWholeCall(t *testing.T) {
	stop := make(chan struct{})
	stuck := map[string]http.Handler{
		"no header": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-stop:
			}
		}),
		"no end": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "beginning")
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
			case <-stop:
			}
		}),
	}
	defer close(stop)
	for name, handler := range stuck {
		s, _ := newServers(t, handler, func(c *fetchtool.Config) { c.Timeout = 300 * time.Millisecond })
		began := time.Now()
		e := s.fail(t, fetchtool.Request{URL: "x"}, fetchtool.TimedOut)
		wantIn(t, e.Advice, "300ms")
		if !errors.Is(e, context.DeadlineExceeded) {
			t.Errorf("%s: got %v, want it to be DeadlineExceeded", name, e)
		}
		if took := time.Since(began); took > patience/2 {
			t.Errorf("%s: took %v, want it bounded", name, took)
		}
		wantIn(t, s.call(t, "x"), "Error: There was no whole answer within 300ms")
	}
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, new(ledger), nil)
		s.SetLatency(9 * time.Minute)
		began := time.Now()
		_, err := s.tool.Fetch(context.Background(), fetchtool.Request{URL: "x"})
		if took := time.Since(began); err == nil || took != 30*time.Second {
			t.Errorf("slow AuthSec: got %v after %v, want an error after the default of 30 s", err, took)
		}
		synctest.Wait()
	})
}

func TestEndOfTheCallersContextIsAGoError(t *testing.T) {
	gone := errors.New("the user has gone")
	s, _ := newServers(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), nil)
	ctx, cancel := context.WithCancelCause(context.Background())
	time.AfterFunc(100*time.Millisecond, func() { cancel(gone) })
	for range 2 { // in the middle of a call, and before one
		text, err := s.tool.Call(ctx, "x")
		if text != "" || !errors.Is(err, context.Canceled) || !errors.Is(err, gone) {
			t.Errorf("got %q, %v, want an error that is Canceled and its cause", text, err)
		}
	}
	short, cancelShort := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancelShort()
	if text, err := s.tool.Call(short, "x"); text != "" || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %q, %v, want DeadlineExceeded", text, err)
	}
}

// TestWhatAuthSecRefuses: what no model can fix is a Go error, all else is text.
func TestWhatAuthSecRefuses(t *testing.T) {
	for _, c := range []struct {
		answer  http.Handler
		want    fetchtool.Kind
		goError bool
	}{
		{authsectest.Answer(400, `{"error":"Invalid client_id format"}`), fetchtool.Misconfigured, true},
		{authsectest.Answer(401, `{"error":"Authorization header is required or invalid"}`), fetchtool.Misconfigured, true},
		{authsectest.Answer(404, `{"error":"Client not found","details":"client_id `+authsectest.ClientID+` not found"}`), fetchtool.NotDelegated, false},
		{authsectest.Answer(410, `{"error":"Delegation token has expired"}`), fetchtool.NotDelegated, false},
		{authsectest.Answer(429, `{"error":"Rate limit exceeded","window":"1m0s"}`), fetchtool.Unavailable, false},
		{authsectest.Answer(200, "<html>"), fetchtool.Unavailable, false},
	} {
		base := new(ledger)
		s := newStack(t, base, nil)
		s.Fail(c.answer)
		e := s.fail(t, fetchtool.Request{URL: "x"}, c.want)
		s.wantSecret(t, e.Error())
		var below *authsec.Error
		if !errors.As(e, &below) {
			t.Errorf("%s: got %v, want an *authsec.Error below it", c.want, e)
		}
		text, err := s.tool.Call(callContext(t), "x")
		if (err != nil) != c.goError || (text == "") != c.goError {
			t.Errorf("%s: got %q, %v, want a Go error: %t", c.want, text, err, c.goError)
		}
		if n := len(base.requests()); n > 0 {
			t.Errorf("%s: got %d requests to the API, want none", c.want, n)
		}
	}
}

func TestNameAndDescription(t *testing.T) {
	s := newStack(t, new(ledger), func(c *fetchtool.Config) { c.Methods = []string{"POST", "GET"} })
	if got := s.tool.Name(); got != "secure_fetch" {
		t.Errorf("got the name %q, want secure_fetch", got)
	}
	wantIn(t, s.tool.Description(), "GET, POST below https://api.example.com/v1", "not instructions", "65536 bytes")
	s.wantSecret(t, s.tool.Description()+string(s.tool.Schema()))
	s = newStack(t, new(ledger), func(c *fetchtool.Config) { c.Name, c.Description = "get-Bills_2", "Bills." })
	if s.tool.Name() != "get-Bills_2" || s.tool.Description() != "Bills." {
		t.Errorf("got %q and %q, want the configured ones", s.tool.Name(), s.tool.Description())
	}
}

func TestToolIsSafeForConcurrentUse(t *testing.T) {
	s, _ := newServers(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.Path) }), nil)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if got, want := s.call(t, fmt.Sprint(i)), fmt.Sprint("/v1/", i); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	wg.Wait()
	if n := s.Fetches(); n != 1 {
		t.Errorf("got %d fetches of a token, want 1", n)
	}
}

func TestToolThatNewDidNotMake(t *testing.T) {
	for _, tool := range []*fetchtool.Tool{nil, new(fetchtool.Tool)} {
		if _, err := tool.Call(context.Background(), "x"); err == nil {
			t.Error("Call: got no error, want one")
		}
		if _, err := tool.Fetch(context.Background(), fetchtool.Request{URL: "x"}); err == nil {
			t.Error("Fetch: got no error, want one")
		}
		if got := fmt.Sprint(tool); got != "fetchtool.Tool{}" {
			t.Errorf("got %q, want fetchtool.Tool{}", got)
		}
	}
}
