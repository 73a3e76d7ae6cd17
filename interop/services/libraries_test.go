// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package services_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"golang.org/x/oauth2"
)

// library is a client of a service. Each has a file of its own.
type library struct {
	// service is a part of the service, without the check of the token.
	service http.Handler
	// connect returns a client of the service at url, as docs/use-with-services.md says.
	connect func(cfg authsec.Config, url string) (send, *authsec.Transport, error)
	// over returns a client with the library's own retries, after short waits, or with
	// none.
	over func(transport *authsec.Transport, url string, retries bool) (send, error)
	// is401 reports whether err is the library's error for a 401.
	is401 func(err error) bool
	// hides is true if errors.Is does not find what the library's errors wrap.
	hides bool
	// notDelegatedAtOnce is true if the first call after a revocation fails with
	// ErrNotDelegated, not with the 401.
	notDelegatedAtOnce bool
	// itself is true if, as documented, the library retries, and the Transport does not.
	itself bool
	// bodyless is a method whose call has no body.
	bodyless string
	// replays is true if a body of more than 64 KiB is sent again after a 401.
	replays bool
	// tries is how often the library itself tries a call without a delegation.
	tries int64
	// attempts has how many requests an API gets that always answers 503, by the call's
	// method. A method that is missing has no call.
	attempts map[string]attempts
}

// send makes a call of the service, with this method. PUT and POST calls send the body.
type send func(ctx context.Context, method, body string) error

// attempts are numbers of requests.
type attempts struct {
	both      int // the library and the Transport retry
	library   int // the Transport has MaxAttempts: 1
	transport int // the library's retries are off
}

var libraries = map[string]library{
	"go-elasticsearch": elasticsearchLibrary,
	"GitLab client-go": gitLabLibrary,
	"vault/api":        vaultLibrary,
	"minio-go":         minioLibrary,
	"aws-sdk-go-v2":    awsLibrary,
	"azcore":           azcoreLibrary,
	"qdrant":           qdrantLibrary,
	"weaviate":         weaviateLibrary,
	"moby client":      mobyLibrary,
}

var (
	short = "a bill"
	long  = strings.Repeat("bill", 64<<10) // more than a Transport buffers
)

// each runs a test with each library.
func each(t *testing.T, test func(t *testing.T, lib library)) {
	for name, lib := range libraries {
		t.Run(name, func(t *testing.T) { test(t, lib) })
	}
}

// eachCall runs a test with each call of each library.
func eachCall(t *testing.T, test func(t *testing.T, lib library, method string)) {
	each(t, func(t *testing.T, lib library) {
		for method := range lib.attempts {
			t.Run(method, func(t *testing.T) { test(t, lib, method) })
		}
	})
}

// start starts the service, and returns a client of it.
func (lib library) start(t *testing.T, s *stack) (send, *authsec.Source) {
	t.Helper()
	api := s.api(t, lib.service)
	call, transport, err := lib.connect(s.config(api.URL), api.URL)
	if err != nil {
		t.Fatal(err)
	}
	return call, sourceOf(transport)
}

// A call succeeds with a delegation, fails after a revocation, and succeeds again with a
// new delegation.
func TestLifeOfADelegation(t *testing.T) {
	eachCall(t, func(t *testing.T, lib library, method string) {
		ctx, s := timely(t), newStack(t)
		call, src := lib.start(t, s)
		if err := call(ctx, method, short); err != nil {
			t.Fatalf("with a delegation: %v", err)
		}
		s.checkSeen(t)

		s.revoke()
		rejected := call(ctx, method, short)
		without := call(ctx, method, short)
		if rejected == nil || without == nil {
			t.Fatal("no error without a delegation")
		}
		t.Logf("revoked: %v", rejected)
		t.Logf("without: %v", without)
		s.checkNoToken(t, rejected.Error()+without.Error())
		if !lib.notDelegatedAtOnce && !lib.is401(rejected) {
			t.Errorf("after the revocation: %T %v, want the library's error for a 401", rejected, rejected)
		}
		if lib.notDelegatedAtOnce {
			s.checkNotDelegated(t, rejected)
		}
		if found := errors.Is(without, authsec.ErrNotDelegated); found == lib.hides {
			t.Errorf("errors.Is(err, authsec.ErrNotDelegated) = %t, want %t: %v", found, !lib.hides, without)
		}

		s.redelegate(t, src)
		if err := call(ctx, method, short); err != nil {
			t.Fatalf("with a new delegation: %v", err)
		}
		s.checkSeen(t)
	})
}

// If the new delegation is there before an API rejects the token, no call fails.
func TestRotation(t *testing.T) {
	eachCall(t, func(t *testing.T, lib library, method string) {
		ctx, s := timely(t), newStack(t)
		call, _ := lib.start(t, s)
		if err := call(ctx, method, short); err != nil {
			t.Fatal(err)
		}
		s.revoke()
		s.delegate()
		if err := call(ctx, method, short); err != nil {
			t.Fatalf("after a revocation and a new delegation: %v", err)
		}
		s.checkSeen(t)
	})
}

// A body that the Transport does not buffer is sent again only if the library gives the
// request a GetBody, or sends it again itself.
func TestRotationDuringALongBody(t *testing.T) {
	eachCall(t, func(t *testing.T, lib library, method string) {
		if method == http.MethodGet || method == lib.bodyless {
			t.Skip("no body")
		}
		ctx, s := timely(t), newStack(t)
		call, _ := lib.start(t, s)
		if err := call(ctx, method, long); err != nil {
			t.Fatal(err)
		}
		s.revoke()
		s.delegate()
		err := call(ctx, method, long)
		if (err == nil) != lib.replays || err != nil && !lib.is401(err) {
			t.Errorf("after a revocation and a new delegation: %v, want sent again: %t", err, lib.replays)
		}
		if err := call(ctx, method, long); err != nil {
			t.Errorf("the next call: %v", err)
		}
		s.checkSeen(t)
	})
}

// unavailable is an API that always answers 503.
var unavailable = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	http.Error(w, "unavailable", http.StatusServiceUnavailable)
})

func TestAttempts(t *testing.T) {
	eachCall(t, func(t *testing.T, lib library, method string) {
		want := lib.attempts[method]
		over := func(retries bool, policy authsec.RetryPolicy) func(authsec.Config, string) (send, error) {
			return func(cfg authsec.Config, url string) (send, error) {
				transport, err := authsec.NewTransport(cfg)
				if err != nil {
					return nil, err
				}
				transport.Retry = policy
				return lib.over(transport, url, retries)
			}
		}
		documented := func(cfg authsec.Config, url string) (send, error) {
			call, transport, err := lib.connect(cfg, url)
			if err == nil {
				transport.Retry.MinBackoff, transport.Retry.MaxBackoff = quick.MinBackoff, quick.MaxBackoff
			}
			return call, err
		}
		wantDocumented := want.transport
		if lib.itself {
			wantDocumented = want.library
		}
		for _, tc := range []struct {
			name    string
			connect func(authsec.Config, string) (send, error)
			want    int
		}{
			{"both retry", over(true, quick), want.both},
			{"the library retries", over(true, authsec.RetryPolicy{MaxAttempts: 1}), want.library},
			{"the Transport retries", over(false, quick), want.transport},
			{"as documented", documented, wantDocumented},
		} {
			ctx, s := timely(t), newStack(t)
			api := s.api(t, unavailable)
			call, err := tc.connect(s.config(api.URL), api.URL)
			if err != nil {
				t.Fatal(err)
			}
			before := len(s.requests()) // some libraries ask for a version first
			if err := call(ctx, method, short); err == nil {
				t.Errorf("%s: no error, though the API always answers 503", tc.name)
			}
			if made := s.requests()[before:]; len(made) != tc.want {
				t.Errorf("%s: %d attempts, want %d: %v", tc.name, len(made), tc.want, made)
			}
		}
	})
}

// A host that an API redirects to gets no token, if it is not listed.
func TestRedirect(t *testing.T) {
	followed := 0
	each(t, func(t *testing.T, lib library) {
		ctx, s := timely(t), newStack(t)
		elsewhere := s.serve(t, lib.service)
		api := s.api(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusTemporaryRedirect)
		}))
		call, _, err := lib.connect(s.config(api.URL), api.URL)
		if err != nil {
			t.Fatal(err)
		}
		call(ctx, http.MethodGet, short) // may fail
		made := s.requests()
		if len(made) == 0 {
			t.Fatal("no request")
		}
		for _, r := range made {
			if r.server == elsewhere.URL {
				followed++
			}
			if has, may := r.token != "", r.server == api.URL; has != may {
				t.Errorf("%v: has a token: %t, want %t", r, has, may)
			}
		}
	})
	if followed == 0 {
		t.Error("no library follows a redirect")
	}
}

// quick is the default policy with short waits.
var quick = authsec.RetryPolicy{MinBackoff: time.Millisecond, MaxBackoff: time.Millisecond}

// Without a delegation, no request is sent. But many libraries try again, unless they are
// told not to.
func TestTriesWithoutDelegation(t *testing.T) {
	each(t, func(t *testing.T, lib library) {
		if lib.tries == 0 {
			t.Skip("takes no Transport")
		}
		ctx, s := timely(t), newStack(t)
		s.revoke()
		api := s.api(t, lib.service)
		check := func(name string, call send, src *counted, want int64) {
			src.calls.Store(0) // a new client may have asked for a version
			if err := call(ctx, http.MethodGet, short); err == nil || errors.Is(err, authsec.ErrNotDelegated) == lib.hides {
				t.Errorf("%s: error = %v, want ErrNotDelegated, hidden: %t", name, err, lib.hides)
			}
			if got := src.calls.Load(); got != want {
				t.Errorf("%s: %d tries, want %d", name, got, want)
			}
		}
		transport, err := authsec.NewTransport(s.config(api.URL))
		if err != nil {
			t.Fatal(err)
		}
		src := &counted{Source: sourceOf(transport)}
		transport.Source = src
		call, err := lib.over(transport, api.URL, true)
		if err != nil {
			t.Fatal(err)
		}
		check("its own retries", call, src, lib.tries)

		if lib.tries > 1 {
			call, transport, err := lib.connect(s.config(api.URL), api.URL)
			if err != nil {
				t.Fatal(err)
			}
			src := &counted{Source: sourceOf(transport)}
			transport.Source = src
			check("as documented", call, src, 1)
		}
		if made := s.requests(); len(made) > 0 {
			t.Errorf("requests without a token: %v", made)
		}
	})
}

// counted is a Source that counts the calls for a token.
type counted struct {
	*authsec.Source
	calls atomic.Int64
}

func (c *counted) TokenContext(ctx context.Context) (*oauth2.Token, error) {
	c.calls.Add(1)
	return c.Source.TokenContext(ctx)
}
