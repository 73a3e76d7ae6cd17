// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/verify"
)

func TestAnswersAreBounded(t *testing.T) {
	good := encode(object{"keys": []object{jwk(&key().PublicKey)}})
	var many []object
	for range 33 {
		many = append(many, jwk(&key().PublicKey))
	}
	for _, tc := range []struct {
		name, body string
		want       error
	}{
		{"as it is", good, nil},
		{"of 1 MiB", good + strings.Repeat(" ", 1<<20-len(good)), nil},
		{"a byte longer", good + strings.Repeat(" ", 1<<20-len(good)+1), verify.ErrUnavailable},
		{"of 32 keys", encode(object{"keys": many[1:]}), nil},
		{"of 33 keys", encode(object{"keys": many}), verify.ErrUnavailable},
		{"with something after it", good + "{}", verify.ErrUnavailable},
		{"that is no JSON", good[1:], verify.ErrUnavailable},
		{"nested without end", `{"keys":` + strings.Repeat("[", 1<<19), verify.ErrUnavailable},
	} {
		a := newAuthority()
		a.fail(authsectest.Answer(200, tc.body), 0)
		check(t, "an answer "+tc.name, a.verifier(t), token(), tc.want)
	}
}

// endless is a body that never ends, a byte a second.
type endless struct{ ctx context.Context }

func (b endless) Read(p []byte) (int, error) {
	select {
	case <-time.After(time.Second):
		p[0] = ' '
		return 1, nil
	case <-b.ctx.Done():
		return 0, b.ctx.Err()
	}
}

func (endless) Close() error { return nil }

type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Whatever the transport does, the requests that wait get an answer in time.
func TestFetchesAreBoundedWhateverTheTransportDoes(t *testing.T) {
	never := make(chan struct{})
	for name, tc := range map[string]struct {
		transport tripper
		want      time.Duration
		text      string
	}{
		"a body without end": {func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: endless{r.Context()}, Request: r}, nil
		}, 10 * time.Second, ": no answer within 10s"},
		"no answer":     {func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() }, 10 * time.Second, ": no answer within 10s"},
		"never returns": {func(*http.Request) (*http.Response, error) { <-never; return nil, io.EOF }, 10 * time.Second, ": no answer within 10s"},
		"panics":        {func(*http.Request) (*http.Response, error) { panic("secret") }, 0, ": Config.HTTPClient panicked: string"},
		"Goexit":        {func(*http.Request) (*http.Response, error) { runtime.Goexit(); return nil, nil }, 0, ": Config.HTTPClient ended its goroutine"},
		"nothing":       {func(*http.Request) (*http.Response, error) { return nil, nil }, 0, "a nil *Response with a nil error"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				never = make(chan struct{})
				a := newAuthority()
				v := a.verifier(t, func(c *verify.Config) { c.HTTPClient.Transport = tc.transport })
				start := time.Now()
				_, err := v.Verify(t.Context(), token())
				if waited := time.Since(start); !errors.Is(err, verify.ErrUnavailable) || waited != tc.want {
					t.Errorf("error = %v after %v, want ErrUnavailable after %v", err, waited, tc.want)
				}
				if !strings.HasSuffix(err.Error(), tc.text) {
					t.Errorf("error = %v, want %s at its end", err, tc.text)
				}
				close(never)
				synctest.Wait()
			})
		})
	}
}

func TestTimeoutOfHTTPClientCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		a.latency = 5 * time.Second
		v := a.verifier(t, func(c *verify.Config) { c.HTTPClient.Timeout = 3 * time.Second })
		start := time.Now()
		check(t, "a slow server", v, token(), verify.ErrUnavailable)
		if waited := time.Since(start); waited != 3*time.Second {
			t.Errorf("it waited %v, want 3s", waited)
		}
		time.Sleep(10 * time.Second)
	})
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	asked := false
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = true
		io.WriteString(w, encode(object{"keys": []object{jwk(&key().PublicKey)}}))
	}))
	server := httptest.NewServer(http.RedirectHandler(target.URL, http.StatusFound))
	v := newAuthority().verifier(t, func(c *verify.Config) { c.BaseURL, c.HTTPClient = server.URL, nil })
	check(t, "a redirect", v, token(), verify.ErrUnavailable)
	server.Close()
	target.Close()
	if asked {
		t.Error("the redirect was followed")
	}
}

func TestKeysAreAskedForWithoutCredentials(t *testing.T) {
	a := newAuthority()
	jar := cookies{}
	v := a.verifier(t, func(c *verify.Config) { c.HTTPClient.Jar = jar })
	h := protected(v)
	if resp := ask(h, "Bearer "+token()); resp.StatusCode != 200 {
		t.Fatalf("answer = %d, want 200", resp.StatusCode)
	}
	for _, name := range []string{"Authorization", "Cookie"} {
		if a.headers.Get(name) != "" {
			t.Errorf("the request for keys has %s, want none", name)
		}
	}
}

func TestLoggerIsToldOfOutagesWithoutTheToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		a := newAuthority()
		a.fail(authsectest.Answer(500, "{}"), 0)
		v := a.verifier(t, func(c *verify.Config) {
			c.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		})
		token := token()
		ask(protected(v), "Bearer "+token)
		synctest.Wait()
		a.fail(nil, 0)
		time.Sleep(2 * time.Second)
		ask(protected(v), "Bearer "+token)
		synctest.Wait()
		for _, want := range []string{`level=WARN msg="no keys"`, "500 Internal Server Error", `level=INFO msg="request rejected"`, `level=DEBUG msg="keys fetched"`, "usable=1"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("log = %s, want %s in it", log.String(), want)
			}
		}
		for _, part := range parts(token) {
			if strings.Contains(log.String(), part) {
				t.Error("the log holds a part of the token")
			}
		}
	})
}

// The methods of the transport's errors run with no lock held, and harm nobody.
type fault struct{ text func() string }

func (f fault) Error() string { return f.text() }

func TestErrorsOfTheTransportDoNoHarm(t *testing.T) {
	for name, text := range map[string]func(verify func()) string{
		"their text calls back": func(verify func()) string { verify(); return "a fault" },
		"their text panics":     func(func()) string { panic("secret") },
		"their text exits":      func(func()) string { runtime.Goexit(); return "" },
		"their text hangs":      func(func()) string { time.Sleep(time.Minute); return "" },
	} {
		for _, body := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				var v *verify.Verifier
				bad := fault{func() string {
					return text(func() {
						ctx, cancel := context.WithTimeout(t.Context(), time.Second)
						defer cancel()
						v.Verify(ctx, token())
					})
				}}
				v = newAuthority().verifier(t, func(c *verify.Config) {
					c.HTTPClient.Transport = tripper(func(r *http.Request) (*http.Response, error) {
						if body {
							return &http.Response{StatusCode: 200, Body: io.NopCloser(iotest.ErrReader(bad)), Request: r}, nil
						}
						return nil, bad
					})
				})
				start := time.Now()
				_, err := v.Verify(t.Context(), token())
				if took := time.Since(start); !errors.Is(err, verify.ErrUnavailable) || took > 10*time.Second {
					t.Errorf("%s: error = %v after %v, want ErrUnavailable within 10s", name, err, took)
				} else if strings.Contains(err.Error(), "secret") {
					t.Errorf("%s: the error shows what it panicked with: %v", name, err)
				}
				time.Sleep(time.Hour)
			})
		}
	}
}

func TestFewFetchesAreLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never := make(chan struct{})
		var count atomic.Int64
		a := newAuthority()
		v := a.verifier(t, func(c *verify.Config) {
			good := c.HTTPClient.Transport
			c.HTTPClient.Transport = tripper(func(r *http.Request) (*http.Response, error) { count.Add(1); <-never; return good.RoundTrip(r) })
		})
		for range 60 {
			check(t, "it hangs", v, token(), verify.ErrUnavailable)
			time.Sleep(time.Minute)
		}
		calls := count.Load()
		if calls < 5 || calls > 10 {
			t.Errorf("%d fetches that don't return in an hour, want 5 to 10", calls)
		}
		_, err := v.Verify(t.Context(), token())
		if want := fmt.Sprintf("Config.HTTPClient has not returned from %d calls", calls); !strings.HasSuffix(err.Error(), want) {
			t.Errorf("error = %v, want %s at its end", err, want)
		}
		close(never)
		time.Sleep(2 * time.Minute)
		check(t, "after it", v, token(), nil)
	})
}

// logger is a slog.Handler that does what it likes.
type logger func()

func (l logger) Handle(context.Context, slog.Record) error { l(); return nil }
func (l logger) Enabled(context.Context, slog.Level) bool  { l(); return true }
func (l logger) WithAttrs([]slog.Attr) slog.Handler        { l(); return l }
func (l logger) WithGroup(string) slog.Handler             { l(); return l }

func TestALoggerDoesNoHarm(t *testing.T) {
	for name, act := range map[string]func(v *verify.Verifier){
		"panics":     func(*verify.Verifier) { panic("secret") },
		"exits":      func(*verify.Verifier) { runtime.Goexit() },
		"calls back": func(v *verify.Verifier) { v.Verify(context.Background(), token()) },
	} {
		synctest.Test(t, func(t *testing.T) {
			a := newAuthority()
			var v *verify.Verifier
			var calls atomic.Int64
			v = a.verifier(t, func(c *verify.Config) { c.Logger = slog.New(logger(func() { calls.Add(1); act(v) })) })
			a.fail(authsectest.Answer(500, "{}"), 0)
			for _, want := range []error{verify.ErrUnavailable, nil} {
				start, before := time.Now(), calls.Load()
				check(t, name, v, token(), want)
				synctest.Wait()
				if took := time.Since(start); took != 0 || calls.Load() == before {
					t.Errorf("a Logger that %s: took %v and called %d times, want 0s and called", name, took, calls.Load()-before)
				}
				a.fail(nil, 0)
				time.Sleep(2 * time.Second)
			}
			if name == "panics" {
				checkAnswer(t, "with a Logger that panics", ask(protected(v)), noToken)
			}
		})
	}
}

// A Logger that hangs delays the goroutine that logs and the callers that wait for it,
// until their contexts end, and nobody else.
func TestALoggerThatHangsHoldsNoLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		v := newAuthority().verifier(t, func(c *verify.Config) { c.Logger = slog.New(logger(func() { <-end })) })
		for i, want := range []time.Duration{time.Second, 0, 0} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			start := time.Now()
			_, err := v.Verify(ctx, token())
			if took := time.Since(start); took != want || (err == nil) != (want == 0) {
				t.Errorf("request %d: error = %v after %v, want %v", i, err, took, want)
			}
			cancel()
		}
		close(end)
	})
}
