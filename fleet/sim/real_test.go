// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
)

// play does what Run does, with the real code: a Source for each process, and the
// server of authsectest, in a testing/synctest bubble.
func play(t *testing.T, s Scenario) *Result {
	t.Helper()
	var result *Result
	synctest.Test(t, func(t *testing.T) { result = playInBubble(t, s) })
	return result
}

func playInBubble(t *testing.T, s Scenario) *Result {
	srv := authsectest.NewInMemoryServer()
	w := &network{Scenario: s, began: time.Now(), next: srv.Client().Transport}
	w.result.PerSecond = make([]int, (s.Length+time.Second-1)/time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	if s.Deadlines {
		ctx, cancel = context.WithTimeout(ctx, s.Length+24*time.Hour) // beyond any rate limit
	}
	var done sync.WaitGroup
	for _, d := range s.Delegations {
		done.Go(func() {
			time.Sleep(d.At)
			srv.Delegate(authsectest.ClientID, authsectest.Delegation{TTL: d.Life})
		})
	}
	done.Go(func() {
		time.Sleep(s.Unlimited)
		srv.LimitRate(s.Limit, s.Window)
	})
	synctest.Wait() // everything that happens at 0 is done
	cfg := srv.Config(authsectest.ClientID)
	cfg.HTTPClient = &http.Client{Transport: w}
	cfg.RenewBefore = s.RenewBefore
	keys := authsec.NewCacheKeys(bytes.Repeat([]byte{1}, 32))
	switch store := (&memory{latency: s.CacheLatency, entries: map[string]stored{}, leases: map[string]*time.Time{}}); s.Sharing {
	case Entries:
		cfg.Cache = &authsec.CacheConfig{Store: struct{ authsec.Cache }{store}, Keys: keys} // without its method Lease
	case Leases:
		cfg.Cache = &authsec.CacheConfig{Store: store, Keys: keys}
	}
	random := rand.New(rand.NewPCG(s.Seed, 0))
	for range s.Processes {
		src, err := authsec.NewSource(cfg)
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Duration(random.Int64N(max(1, int64(s.Spread))))
		done.Go(func() {
			time.Sleep(begin)
			w.live(ctx, src)
		})
	}
	time.Sleep(s.Length)
	cancel()
	done.Wait()
	time.Sleep(time.Minute) // fetches go on without their callers
	return &w.result
}

// live is the one caller of a process.
func (w *network) live(ctx context.Context, src *authsec.Source) {
	without := never
	for {
		from := time.Since(w.began)
		_, err := src.TokenContext(ctx)
		to := time.Since(w.began)
		ended := ctx.Err() != nil
		w.mu.Lock()
		if (to > from || err != nil) && without == never {
			without = from
		}
		switch {
		case ended && without != never:
			w.result.lacks(without, w.Length)
		case ended:
		case to > from || err != nil:
			w.result.waited(from, to, err != nil)
		}
		if !ended && err == nil && without != never {
			w.result.had(without, to)
			without = never
		}
		w.mu.Unlock()
		if ended {
			return
		}
		if !sleep(ctx, w.Every) {
			if without != never {
				w.mu.Lock()
				w.result.lacks(without, w.Length)
				w.mu.Unlock()
			}
			return
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// network is the network to the server. It counts the requests.
type network struct {
	Scenario
	began time.Time
	next  http.RoundTripper

	mu     sync.Mutex // guards what follows
	result Result
}

func (w *network) RoundTrip(req *http.Request) (*http.Response, error) {
	at := time.Since(w.began)
	out := w.Outage.From <= at && at < w.Outage.To
	var resp *http.Response
	var err error
	switch {
	case out && w.Outage.Status == 0:
		err = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	case out:
		resp, err = authsectest.RoundTripper(authsectest.Answer(w.Outage.Status, "<html>")).RoundTrip(req)
	default:
		resp, err = w.next.RoundTrip(req)
	}
	status := 0
	if err == nil {
		status = resp.StatusCode
	}
	if at < w.Length {
		w.mu.Lock()
		w.result.note(at, status)
		w.mu.Unlock()
	}
	if !sleep(req.Context(), w.Latency) {
		return nil, req.Context().Err()
	}
	return resp, err
}

// memory is a Leaser that the processes share.
type memory struct {
	latency time.Duration // of each use

	mu      sync.Mutex // guards what follows
	entries map[string]stored
	leases  map[string]*time.Time // until when
}

type stored struct {
	data  []byte
	until time.Time
}

// use waits for the store's latency, and then locks mu.
func (m *memory) use(ctx context.Context) error {
	if !sleep(ctx, m.latency) {
		return ctx.Err()
	}
	m.mu.Lock()
	return nil
}

func (m *memory) Get(ctx context.Context, key string) ([]byte, error) {
	if err := m.use(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	e, ok := m.entries[key]
	if !ok || !time.Now().Before(e.until) {
		return nil, authsec.ErrCacheMiss
	}
	return e.data, nil
}

func (m *memory) Put(ctx context.Context, key string, data []byte, ttl time.Duration) error {
	if err := m.use(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	m.entries[key] = stored{bytes.Clone(data), time.Now().Add(ttl)}
	return nil
}

func (m *memory) Delete(ctx context.Context, key string) error {
	if err := m.use(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	delete(m.entries, key)
	return nil
}

func (m *memory) Lease(ctx context.Context, key string, ttl time.Duration) (func(context.Context) error, error) {
	if err := m.use(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	if until := m.leases[key]; until != nil && time.Now().Before(*until) {
		return nil, authsec.ErrLeaseHeld
	}
	until := time.Now().Add(ttl)
	m.leases[key] = &until
	return func(ctx context.Context) error {
		if err := m.use(ctx); err != nil {
			return err
		}
		defer m.mu.Unlock()
		if m.leases[key] == &until {
			delete(m.leases, key)
		}
		return nil
	}, nil
}
