// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"golang.org/x/oauth2"
)

// atOnce repeats without a wait that anyone would notice.
var atOnce = authsec.RetryPolicy{MinBackoff: 1, MaxBackoff: 1}

// countNew counts a server's connections.
func countNew(n *atomic.Int32) func(net.Conn, http.ConnState) {
	return func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			n.Add(1)
		}
	}
}

func TestRetryRepeatsIdempotentRequestsOnly(t *testing.T) {
	key := func(name string) http.Header { return http.Header{name: {"k"}} }
	for _, c := range []struct {
		method string
		header http.Header
		want   int
	}{
		{"", nil, 4},
		{"GET", nil, 4},
		{"HEAD", nil, 4},
		{"OPTIONS", nil, 4},
		{"TRACE", nil, 4},
		{"PUT", nil, 4},
		{"DELETE", nil, 4},
		{"POST", nil, 1},
		{"PATCH", nil, 1},
		{"CONNECT", nil, 1},
		{"PROPFIND", nil, 1},
		{"get", nil, 1}, // methods are case-sensitive (RFC 9110, section 9.1)
		{"POST", key("Idempotency-Key"), 4},
		{"POST", key("X-Idempotency-Key"), 4},
		{"POST", key("idempotency-key"), 4},
		{"PATCH", key("X-IDEMPOTENCY-KEY"), 4},
		{"POST", key("My-Idempotency-Key"), 1},
	} {
		for _, o := range []outcome{{status: 503}, {err: syscall.ECONNRESET}} {
			t.Run(fmt.Sprint(c.method, c.header, o.status, o.err), func(t *testing.T) {
				base := answering(o)
				var b bodies
				req := b.request(t.Context(), "GET", api, "the body")
				req.Method = c.method
				for name, values := range c.header {
					req.Header[name] = values
				}
				resp, err := to(staticSource(), base, retrying(atOnce)).RoundTrip(req)
				if (err != nil) != (o.err != nil) || err == nil && resp.StatusCode != o.status {
					t.Errorf("got %v, %v, want the last outcome", resp, err)
				}
				if len(base.calls) != c.want {
					t.Errorf("attempts: got %d, want %d", len(base.calls), c.want)
				}
				if opened, closed := b.counts(); opened != c.want || closed != c.want {
					t.Errorf("bodies: got %d opened and %d closed, want %d and %[3]d", opened, closed, c.want)
				}
			})
		}
	}
}

func TestRetryRepeatsPassingStatusesOnly(t *testing.T) {
	passing := []int{429, 500, 502, 503, 504}
	for status := 200; status < 600; status++ {
		if status == 401 {
			continue
		}
		base := statuses(status)
		if _, err := to(staticSource(), base, retrying(atOnce)).RoundTrip(get(t, api)); err != nil {
			t.Fatalf("%d: %v", status, err)
		}
		want := 1
		if slices.Contains(passing, status) {
			want = 4
		}
		if got := len(base.calls); got != want {
			t.Errorf("attempts on a %d: got %d, want %d", status, got, want)
		}
	}
}

func TestRetryCountsAllAttempts(t *testing.T) {
	for _, c := range []struct{ max, want int }{{0, 4}, {1, 1}, {2, 2}, {7, 7}} {
		policy := atOnce
		policy.MaxAttempts = c.max
		base := statuses(503)
		if _, err := to(staticSource(), base, retrying(policy)).RoundTrip(get(t, api)); err != nil {
			t.Fatal(err)
		}
		if got := len(base.calls); got != c.want {
			t.Errorf("MaxAttempts %d: got %d attempts, want %d", c.max, got, c.want)
		}
	}
}

func TestRetryNeedsABodyThatCanBeHadAgain(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*http.Request)
		want int
	}{
		{"GetBody", func(*http.Request) {}, 4},
		{"no body", func(r *http.Request) { r.Body, r.GetBody = nil, nil }, 4},
		{"NoBody", func(r *http.Request) { r.Body, r.GetBody = http.NoBody, nil }, 4},
		{"no GetBody", func(r *http.Request) { r.GetBody = nil }, 1},
		{"GetBody fails", func(r *http.Request) {
			r.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("gone") }
		}, 1},
	} {
		for _, o := range []outcome{{status: 503}, {err: syscall.ECONNRESET}} {
			t.Run(fmt.Sprint(c.name, " ", o.status, o.err), func(t *testing.T) {
				base := answering(o)
				var b bodies
				req := b.request(t.Context(), "PUT", api, "the body")
				own := req.Body
				c.edit(req)
				resp, err := to(staticSource(), base, retrying(atOnce)).RoundTrip(req)
				if len(base.calls) != c.want {
					t.Errorf("attempts: got %d, want %d", len(base.calls), c.want)
				}
				if !errors.Is(err, o.err) {
					t.Errorf("error: got %v, want %v", err, o.err)
				}
				if err == nil {
					checkUnread(t, resp)
				}
				if req.Body == own {
					checkClosed(t, &b)
				}
			})
		}
	}
}

func TestRetryReturnsTheLastResponseUnread(t *testing.T) {
	for _, hosts := range [][]string{{"api.example.com"}, {"other.example.com"}} {
		base := statuses(500, 502, 504, 503)
		tr := to(staticSource(), base, retrying(atOnce))
		tr.Hosts = hosts
		resp, err := (&http.Client{Transport: tr}).Get(api)
		if err != nil || resp.StatusCode != 503 || resp != base.answers[3] {
			t.Fatalf("Hosts %q: got %v, %v, want the last response", hosts, resp, err)
		}
		checkUnread(t, resp)
		for i, answer := range base.answers[:3] {
			if answer.Body.(*trackedBody).closes.Load() == 0 {
				t.Errorf("answer %d: got an open body, want it closed", i)
			}
		}
	}
}

// marked is an error whose pointer says whether it was wrapped.
type marked struct{ n int }

func (m *marked) Error() string { return fmt.Sprint("broken ", m.n) }

func TestRetryReturnsTheLastErrorUnwrapped(t *testing.T) {
	var errs []*marked
	base := answering()
	for i := range 4 {
		errs = append(errs, &marked{i})
		base.outcomes = append(base.outcomes, outcome{err: errs[i]})
	}
	_, err := to(staticSource(), base, retrying(atOnce)).RoundTrip(get(t, api))
	if err != error(errs[3]) {
		t.Errorf("error: got %v, want the base's own fourth", err)
	}

	base.calls, base.answers, base.bodies = nil, nil, nil
	_, err = (&http.Client{Transport: to(staticSource(), base, retrying(atOnce))}).Get(api)
	if e, ok := errors.AsType[*url.Error](err); !ok || e.Err != error(errs[3]) {
		t.Errorf("the client's error: got %v, want the base's own fourth within a *url.Error", err)
	}
}

func TestRetryReturnsTheLastOutcomeOfAMix(t *testing.T) {
	broken := &marked{1}
	for _, c := range []struct {
		name   string
		base   *fakeBase
		status int
		err    error
	}{
		{"an error, then 200", answering(outcome{err: broken}, outcome{status: 200}), 200, nil},
		{"503, then 404", statuses(503, 404), 404, nil},
		{"errors, then 503", answering(outcome{err: broken}, outcome{err: broken}, outcome{err: broken}, outcome{status: 503}), 503, nil},
		{"503s, then an error", answering(outcome{status: 503}, outcome{status: 503}, outcome{status: 503}, outcome{err: broken}), 0, broken},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp, err := to(staticSource(), c.base, retrying(atOnce)).RoundTrip(get(t, api))
			if err != c.err {
				t.Fatalf("error: got %v, want %v", err, c.err)
			}
			if err == nil && (resp.StatusCode != c.status || resp != c.base.answers[len(c.base.answers)-1]) {
				t.Errorf("got %d, want %d and the last answer", resp.StatusCode, c.status)
			}
		})
	}
}

func TestRetryTakesTheThenCurrentToken(t *testing.T) {
	n := 0
	source := sourceFunc(func() (*oauth2.Token, error) {
		n++
		return &oauth2.Token{AccessToken: []string{firstToken, secondToken}[min(n, 2)-1]}, nil
	})
	base := answering(outcome{status: 503}, outcome{err: syscall.ECONNRESET}, outcome{status: 200})
	if _, err := to(source, base, retrying(atOnce)).RoundTrip(get(t, api)); err != nil {
		t.Fatal(err)
	}
	if got, want := base.tokens(), "first second second"; got != want {
		t.Errorf("tokens: got %q, want %q", got, want)
	}
}

func TestRetryDoesNotRepeatAFailureToGetAToken(t *testing.T) {
	broken := errors.New("no token")
	for _, have := range []int{0, 1} { // tokens before the source fails
		asked := 0
		source := sourceFunc(func() (*oauth2.Token, error) {
			if asked++; asked > have {
				return nil, broken
			}
			return &oauth2.Token{AccessToken: firstToken}, nil
		})
		base := statuses(503)
		_, err := to(source, base, retrying(atOnce)).RoundTrip(get(t, api))
		if err != broken || asked != have+1 || len(base.calls) != have {
			t.Errorf("got %v, %d tokens asked for and %d requests, want %v, %d and %d", err, asked, len(base.calls), broken, have+1, have)
		}
	}
}

func TestRetryObeysRetryAfter(t *testing.T) {
	const date = "Tue, 24 Nov 2026 08:00:00 GMT" // far from a bubble's local clock
	const most = 20 * time.Second
	for _, c := range []struct {
		name     string
		status   int
		after    string
		date     string
		attempts int
		min, max time.Duration
	}{
		{"seconds", 503, "7", date, 2, 7 * time.Second, 7 * time.Second},
		{"seconds of a 429", 429, "7", date, 2, 7 * time.Second, 7 * time.Second},
		{"seconds of a 500", 500, "7", date, 2, 7 * time.Second, 7 * time.Second},
		{"MaxBackoff", 503, "20", date, 2, most, most},
		{"over MaxBackoff", 503, "21", date, 1, 0, 0},
		{"an hour", 429, "3600", date, 1, 0, 0},
		{"what overflows", 503, "9223372037", date, 1, 0, 0},
		{"what overflows more", 503, "99999999999999999999", date, 1, 0, 0},
		{"a date", 503, "Tue, 24 Nov 2026 08:00:07 GMT", date, 2, 7 * time.Second, 7 * time.Second},
		{"a date in RFC 850's form", 503, "Tuesday, 24-Nov-26 08:00:07 GMT", date, 2, 7 * time.Second, 7 * time.Second},
		{"a date over MaxBackoff", 503, "Tue, 24 Nov 2026 08:01:00 GMT", date, 1, 0, 0},
		{"a date in the year 9999", 503, "Fri, 31 Dec 9999 23:59:59 GMT", date, 1, 0, 0},
		{"a date by the local clock", 503, "Sat, 01 Jan 2000 00:00:07 GMT", "", 2, 7 * time.Second, 7 * time.Second},
		{"a date in the past", 503, "Tue, 24 Nov 2026 07:00:00 GMT", date, 2, 0, time.Second},
		{"zero", 503, "0", date, 2, 0, time.Second},
		{"negative", 503, "-9", date, 2, 0, time.Second},
		{"text", 503, "soon", date, 2, 0, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				header := http.Header{"Retry-After": {c.after}}
				if c.date != "" {
					header.Set("Date", c.date)
				}
				base := answering(outcome{status: c.status, header: header}, outcome{status: 200})
				began := time.Now()
				resp, err := to(staticSource(), base, retrying(authsec.RetryPolicy{MinBackoff: time.Second, MaxBackoff: most})).RoundTrip(get(t, api))
				if err != nil {
					t.Fatal(err)
				}
				if got := len(base.calls); got != c.attempts {
					t.Errorf("attempts: got %d, want %d", got, c.attempts)
				}
				if elapsed := time.Since(began); elapsed < c.min || elapsed > c.max {
					t.Errorf("elapsed: got %v, want %v to %v", elapsed, c.min, c.max)
				}
				if resp != base.answers[len(base.answers)-1] {
					t.Errorf("got a %d, want the last answer", resp.StatusCode)
				}
				checkUnread(t, resp)
			})
		})
	}
}

// What can't be repeated before the deadline is not waited for.
func TestRetryDoesNotOverrunTheDeadline(t *testing.T) {
	broken := &marked{1}
	after := func(seconds string) outcome {
		return outcome{status: 503, header: http.Header{"Retry-After": {seconds}}}
	}
	for _, c := range []struct {
		name     string
		base     *fakeBase
		policy   authsec.RetryPolicy
		attempts int
		elapsed  time.Duration
		err      error
	}{
		{"Retry-After beyond it", answering(after("9")), authsec.RetryPolicy{}, 1, 0, nil},
		{"Retry-After that meets it", answering(after("5")), authsec.RetryPolicy{}, 1, 0, nil},
		{"Retry-After before it", answering(after("4")), authsec.RetryPolicy{}, 2, 4 * time.Second, nil},
		{"backoff beyond it", answering(outcome{err: broken}), authsec.RetryPolicy{MaxAttempts: 100, MinBackoff: 1 << 62, MaxBackoff: 1<<63 - 1}, 1, 0, broken},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for _, byClient := range []bool{false, true} {
					ctx, client := t.Context(), &http.Client{Transport: to(staticSource(), c.base, retrying(c.policy))}
					c.base.calls, c.base.answers, c.base.bodies = nil, nil, nil
					if byClient {
						client.Timeout = 5 * time.Second
					} else {
						var cancel context.CancelFunc
						ctx, cancel = context.WithTimeout(ctx, 5*time.Second)
						defer cancel()
					}
					began := time.Now()
					var b bodies
					resp, err := client.Do(b.request(ctx, http.MethodPut, api, "the body"))
					if elapsed := time.Since(began); elapsed != c.elapsed || len(c.base.calls) != c.attempts {
						t.Errorf("got %d attempts in %v, want %d in %v", len(c.base.calls), elapsed, c.attempts, c.elapsed)
					}
					if opened, closed := b.counts(); opened != c.attempts || closed != c.attempts {
						t.Errorf("bodies: got %d opened and %d closed, want %d and %[3]d", opened, closed, c.attempts)
					}
					if !errors.Is(err, c.err) || c.err == nil && err != nil {
						t.Errorf("error: got %v, want %v", err, c.err)
					}
					if err == nil {
						if resp.StatusCode != 503 || c.base.bodies[c.attempts-1].closes.Load() != 0 {
							t.Errorf("got a %d, want the 503 with its body open", resp.StatusCode)
						}
						resp.Body.Close()
					}
				}
			})
		})
	}
}

func TestRetryDoesNotGoOnAfterTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	broken := &marked{1}
	base := baseFunc(func(*http.Request) (*http.Response, error) { calls++; cancel(); return nil, broken })
	if _, err := to(staticSource(), base, retrying(atOnce)).RoundTrip(get(t, api).WithContext(ctx)); err != broken || calls != 1 {
		t.Errorf("got %v after %d attempts, want the base's own error after 1", err, calls)
	}
}

func TestRetryBacksOffWithFullJitter(t *testing.T) {
	const runs = 400
	policy := authsec.RetryPolicy{MaxAttempts: 7, MinBackoff: time.Second, MaxBackoff: 10 * time.Second}
	ceilings := []time.Duration{1e9, 2e9, 4e9, 8e9, 10e9, 10e9}
	synctest.Test(t, func(t *testing.T) {
		least, most := make([]time.Duration, len(ceilings)), make([]time.Duration, len(ceilings))
		for run := range runs {
			base := statuses(503)
			if _, err := to(staticSource(), base, retrying(policy)).RoundTrip(get(t, api)); err != nil {
				t.Fatal(err)
			}
			for i := range ceilings {
				wait := base.calls[i+1].at.Sub(base.calls[i].at)
				if wait < 0 || wait >= ceilings[i] {
					t.Fatalf("wait %d: got %v, want one in [0, %v)", i, wait, ceilings[i])
				}
				if run == 0 {
					least[i] = wait
				}
				least[i], most[i] = min(least[i], wait), max(most[i], wait)
			}
		}
		// That 400 even draws all miss a tenth of the range: 1 in 10^18.
		for i, ceiling := range ceilings {
			if least[i] > ceiling/10 || most[i] < ceiling*9/10 {
				t.Errorf("wait %d: got %v to %v, want all of [0, %v)", i, least[i], most[i], ceiling)
			}
		}
	})
}

func TestRetryDefaultsTo4AttemptsAnd200ms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var most time.Duration
		for range 200 {
			base := statuses(503)
			if _, err := to(staticSource(), base, retrying(authsec.RetryPolicy{})).RoundTrip(get(t, api)); err != nil {
				t.Fatal(err)
			}
			if len(base.calls) != 4 {
				t.Fatalf("attempts: got %d, want 4", len(base.calls))
			}
			most = max(most, base.calls[1].at.Sub(base.calls[0].at))
		}
		if most >= 200*time.Millisecond || most < 150*time.Millisecond {
			t.Errorf("longest first wait: got %v, want just under 200ms", most)
		}
		base := answering(outcome{status: 503, header: http.Header{"Retry-After": {"10"}}}, outcome{status: 503, header: http.Header{"Retry-After": {"11"}}})
		if _, err := to(staticSource(), base, retrying(authsec.RetryPolicy{})).RoundTrip(get(t, api)); err != nil || len(base.calls) != 2 {
			t.Errorf("Retry-After 10, then 11: got %d attempts, %v, want 2", len(base.calls), err)
		}
	})
}

func TestRetryRepeatsOnConnectionErrors(t *testing.T) {
	var requests atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) < 3 {
			panic(http.ErrAbortHandler) // ends the connection
		}
		io.Copy(w, r.Body)
	}))
	defer srv.Close()
	base := &http.Transport{DisableKeepAlives: true} // so that net/http itself does not repeat it
	client := &http.Client{Transport: to(staticSource(), base, hosts(srv.Listener.Addr().String()), retrying(atOnce))}
	var b bodies
	resp, err := client.Do(b.request(t.Context(), http.MethodPut, srv.URL, "the body"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); string(body) != "the body" || err != nil || requests.Load() != 3 {
		t.Errorf("got %q, %v after %d requests, want %q after 3", body, err, requests.Load(), "the body")
	}
	if opened, _ := b.counts(); opened != 3 {
		t.Errorf("bodies opened: got %d, want 3", opened)
	}
}

func TestRetryReturnsTheConnectionErrorOfAnAPIThatIsDown(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	addr := srv.Listener.Addr().String()
	srv.Close()
	calls := 0
	base := baseFunc(func(r *http.Request) (*http.Response, error) { calls++; return http.DefaultTransport.RoundTrip(r) })
	_, err := (&http.Client{Transport: to(staticSource(), base, hosts(addr), retrying(atOnce))}).Get("http://" + addr)
	if !errors.Is(err, syscall.ECONNREFUSED) || calls != 4 {
		t.Errorf("got %v after %d attempts, want ECONNREFUSED after 4", err, calls)
	}
}

func TestRetryDoesNotRepeatCertificateErrors(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	trusting := srv.Client().Transport.(*http.Transport)
	wrongName := trusting.Clone()
	wrongName.TLSClientConfig.ServerName = "other.example.org"
	defer wrongName.CloseIdleConnections()
	for _, c := range []struct {
		name string
		base http.RoundTripper
	}{
		{"an unknown authority", &http.Transport{}},
		{"another name", wrongName},
		{"an unknown authority, in a wrapper's words", baseFunc(func(r *http.Request) (*http.Response, error) {
			_, err := new(http.Transport).RoundTrip(r)
			return nil, fmt.Errorf("wrapper: %w", err)
		})},
	} {
		t.Run(c.name, func(t *testing.T) {
			calls := 0
			counting := baseFunc(func(r *http.Request) (*http.Response, error) { calls++; return c.base.RoundTrip(r) })
			_, err := (&http.Client{Transport: to(staticSource(), counting, hosts("*"), retrying(atOnce))}).Get(srv.URL)
			if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok || calls != 1 {
				t.Errorf("got %v after %d attempts, want a *tls.CertificateVerificationError after 1", err, calls)
			}
		})
	}
}

func TestRetryDoesNotRepeatWhatCanNotBeSent(t *testing.T) {
	for _, c := range []struct {
		name string
		url  string
		edit func(*http.Request)
	}{
		{"a foreign scheme", "ftp://api.example.com/", func(*http.Request) {}},
		{"a header's value", api, func(r *http.Request) { r.Header["X-A"] = []string{"a\nb"} }},
		{"a header's name", api, func(r *http.Request) { r.Header["X A"] = []string{"b"} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			calls := 0
			base := baseFunc(func(r *http.Request) (*http.Response, error) { calls++; return http.DefaultTransport.RoundTrip(r) })
			req := get(t, c.url)
			c.edit(req)
			if _, err := to(staticSource(), base, retrying(atOnce)).RoundTrip(req); err == nil || calls != 1 {
				t.Errorf("got %v after %d attempts, want an error after 1", err, calls)
			}
		})
	}
}

func TestRetryLeavesTheConnectionPoolAlone(t *testing.T) {
	const workers, each = 4, 100
	var connections, requests atomic.Int32
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/down" || requests.Add(1)%20 == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			w.Write(make([]byte, 2<<10))
			return
		}
		io.WriteString(w, "ok")
	}))
	srv.Config.ConnState = countNew(&connections)
	srv.Start()
	defer srv.Close()
	base := &http.Transport{MaxIdleConnsPerHost: workers}
	defer base.CloseIdleConnections()
	client := &http.Client{Transport: to(staticSource(), base, hosts(srv.Listener.Addr().String()), retrying(atOnce))}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range each {
				path, want := "/up", http.StatusOK
				if i%20 == 7 {
					path, want = "/down", http.StatusServiceUnavailable // to the end
				}
				resp, err := client.Get(srv.URL + path)
				if err != nil || resp.StatusCode != want {
					t.Errorf("GET %s: got %v, %v, want %d", path, resp, err, want)
					return
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	}
	wg.Wait()
	// net/http dials on while another connection becomes free: a few more than workers.
	if n := connections.Load(); n > 2*workers {
		t.Errorf("connections for %d requests of %d workers: got %d, want at most %d", workers*each, workers, n, 2*workers)
	}
}

// Redirects are the caller's, not the transport's.
func TestRetryPassesRedirectsOn(t *testing.T) {
	for _, c := range []struct {
		status   int
		location string
	}{
		{302, "https://other.example.com/"},
		{302, "://malformed%"},
		{302, ""},
		{301, "http://[::1"},
		{307, "https://other.example.com/"},
		{308, "://malformed%"},
		{304, ""},
	} {
		t.Run(fmt.Sprint(c.status, c.location), func(t *testing.T) {
			base := answering(outcome{status: 503}, outcome{status: c.status, header: http.Header{"Location": {c.location}}})
			var b bodies
			resp, err := to(staticSource(), base, retrying(atOnce)).RoundTrip(b.request(t.Context(), http.MethodPut, api, "the body"))
			if err != nil || resp != base.answers[1] {
				t.Fatalf("got %v, %v, want the redirect", resp, err)
			}
			checkUnread(t, resp)
			if opened, closed := b.counts(); opened != 2 || closed != 2 || len(base.calls) != 2 {
				t.Errorf("got %d bodies opened, %d closed, %d requests, want 2 of each", opened, closed, len(base.calls))
			}
		})
	}
}

func TestRetryLeavesRedirectsAndCookiesToTheClient(t *testing.T) {
	var requests atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch n := requests.Add(1); {
		case n%2 == 1: // every other time
			http.SetCookie(w, &http.Cookie{Name: "failed", Value: "1"})
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.URL.Path == "/from":
			http.SetCookie(w, &http.Cookie{Name: "session", Value: "42"})
			http.Redirect(w, r, "/to", http.StatusFound)
		default:
			fmt.Fprint(w, r.Header.Get("Cookie"), " ", tokenIn(r.Header))
		}
	}))
	defer srv.Close()
	jar, _ := cookiejar.New(nil)
	var checked []string
	client := &http.Client{
		Transport: to(staticSource(), nil, hosts(srv.Listener.Addr().String()), retrying(atOnce)),
		Jar:       jar,
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			checked = append(checked, req.URL.Path)
			return nil
		},
	}
	resp, err := client.Get(srv.URL + "/from")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if got, want := string(body), "session=42 first"; got != want || err != nil {
		t.Errorf("cookies and token after the redirect: got %q, %v, want %q", got, err, want)
	}
	if !slices.Equal(checked, []string{"/to"}) || requests.Load() != 4 {
		t.Errorf("got redirects %q checked in %d requests, want /to in 4", checked, requests.Load())
	}
}

func TestRetryKeepsContentLength(t *testing.T) {
	type seen struct {
		length   int64
		encoding []string
		body     string
	}
	var log []seen
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		log = append(log, seen{r.ContentLength, r.TransferEncoding, string(body)})
		if len(log)%2 == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer srv.Close()
	client := &http.Client{Transport: to(staticSource(), nil, hosts(srv.Listener.Addr().String()), retrying(atOnce))}
	for _, length := range []int64{8, -1} {
		log = nil
		var b bodies
		req := b.request(t.Context(), http.MethodPut, srv.URL, "the body")
		req.ContentLength = length
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if len(log) != 2 {
			t.Fatalf("requests: got %d, want 2", len(log))
		}
		for i, s := range log {
			if s.length != length || s.body != "the body" || (len(s.encoding) == 0) != (length > 0) {
				t.Errorf("request %d: got ContentLength %d, %q and %q, want %d and the body", i, s.length, s.encoding, s.body, length)
			}
		}
		if opened, _ := b.counts(); opened != 2 {
			t.Errorf("bodies opened: got %d, want 2", opened)
		}
	}
}

func TestRetryStreamsTheResponseOfARepetition(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	body := newStalled(ctx)
	base := answering(outcome{status: 503}, outcome{status: 200, body: body})
	resp, err := to(staticSource(), base, retrying(atOnce)).RoundTrip(get(t, api))
	if err != nil || resp.Body != io.ReadCloser(body) {
		t.Fatalf("got %v, %v, want the response with its own body", resp, err)
	}
}

func TestRetryPrintsNothing(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	stderr, stdout, logged := os.Stderr, os.Stdout, log.Writer()
	os.Stderr, os.Stdout = w, w
	log.SetOutput(w)
	for _, o := range []outcome{{status: 503}, {err: syscall.ECONNRESET}} {
		to(staticSource(), answering(o), retrying(atOnce)).RoundTrip(get(t, api))
	}
	os.Stderr, os.Stdout = stderr, stdout
	log.SetOutput(logged)
	w.Close()
	if got, err := io.ReadAll(r); len(got) != 0 || err != nil {
		t.Errorf("printed: got %d bytes (%.40q), %v, want none", len(got), strings.ReplaceAll(string(got), firstToken, "…"), err)
	}
}
