// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package otelmetrics_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/otelmetrics"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
)

const (
	expiry    = "authsec.token.expiry.timestamp"
	fetches   = "authsec.token.fetches"
	failures  = "authsec.token.fetch.failures"
	renewals  = "authsec.token.renewals"
	rejected  = "authsec.token.rejections"
	hits      = "authsec.cache.lookups hit"
	misses    = "authsec.cache.lookups miss"
	rejects   = "authsec.cache.rejects"
	cacheFail = "authsec.cache.failures"
)

// The metrics follow a token's life.
func TestTokenLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authsectest.NewInMemoryServer()
		defer srv.Close()
		src := newSource(t, srv.Config(authsectest.ClientID))
		c := newCollector()
		c.register(t, src)
		expires := func(want float64) {
			t.Helper()
			if got := c.values(t, "")[expiry]; math.Abs(got-want) > 1 {
				t.Errorf("%s is %.3f, want %.3f ± 1", expiry, got, want)
			}
		}

		c.check(t, "", nil)
		expires(0)
		if srv.Fetches() != 0 {
			t.Errorf("Register or a collection asked the server")
		}

		if _, err := src.Token(); !errors.Is(err, authsec.ErrNotDelegated) {
			t.Fatalf("got %v, want ErrNotDelegated", err)
		}
		c.check(t, "", map[string]float64{fetches: 1, failures: 1})
		expires(0)

		time.Sleep(5 * time.Minute) // no failure is cached for so long
		first := srv.Delegate(authsectest.ClientID, authsectest.Delegation{TTL: time.Hour})
		token, err := src.Token()
		if err != nil || token.AccessToken != first {
			t.Fatalf("no token, or another: %v", err)
		}
		c.check(t, "", map[string]float64{fetches: 2, failures: 1})
		expires(float64(time.Now().Add(time.Hour).Unix()))

		srv.Revoke(authsectest.ClientID)
		srv.Delegate(authsectest.ClientID, authsectest.Delegation{TTL: 2 * time.Hour})
		if _, err = src.Renew(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		c.check(t, "", map[string]float64{fetches: 3, failures: 1, rejected: 1, renewals: 1})
		expires(float64(time.Now().Add(2 * time.Hour).Unix()))

		time.Sleep(3 * time.Hour)
		c.check(t, "", map[string]float64{fetches: 3, failures: 1, rejected: 1, renewals: 1})
		expires(0)
	})
}

// Each Source with a cache counts its own hits, misses, rejects and failures.
func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authsectest.NewInMemoryServer()
		defer srv.Close()
		srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
		store := &memory{entries: map[string][]byte{}}
		cfg := srv.Config(authsectest.ClientID)
		cfg.Cache = shared(store)
		c := newCollector()
		get := func(agent string) {
			t.Helper()
			src := newSource(t, cfg)
			c.register(t, src, agentName(agent))
			if _, err := src.Token(); err != nil {
				t.Fatal(err)
			}
		}

		get("first")
		get("second")
		store.spoil()
		get("third")
		store.broken = true
		get("fourth")

		c.check(t, "first", map[string]float64{fetches: 1, misses: 1})
		c.check(t, "second", map[string]float64{hits: 1})
		c.check(t, "third", map[string]float64{fetches: 1, misses: 1, rejects: 1})
		got := c.values(t, "fourth")
		if got[cacheFail] == 0 {
			t.Errorf("%s is 0 with a broken cache: %v", cacheFail, got)
		}
		c.check(t, "fourth", map[string]float64{fetches: 1, misses: 1, cacheFail: got[cacheFail]})
	})
}

// With a cache, a failure may come from another process, as doc.go says.
func TestFailureOfAnotherProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authsectest.NewInMemoryServer()
		defer srv.Close()
		cfg := srv.Config(authsectest.ClientID)
		cfg.Cache = shared(&memory{entries: map[string][]byte{}})
		c := newCollector()
		for _, agent := range []string{"first", "second"} {
			src := newSource(t, cfg)
			c.register(t, src, agentName(agent))
			if _, err := src.Token(); !errors.Is(err, authsec.ErrNotDelegated) {
				t.Fatalf("got %v, want ErrNotDelegated", err)
			}
		}
		c.check(t, "first", map[string]float64{fetches: 1, failures: 1, misses: 1})
		c.check(t, "second", map[string]float64{failures: 1, hits: 1})
	})
}

// The counters of Sources with the same attributes are added up.
func TestSameAttributes(t *testing.T) {
	srv := authsectest.NewServer()
	defer srv.Close()
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	c := newCollector()
	for range 3 {
		src := newSource(t, srv.Config(authsectest.ClientID))
		c.register(t, src, agentName("billing"))
		if _, err := src.Token(); err != nil {
			t.Fatal(err)
		}
	}
	c.check(t, "billing", map[string]float64{fetches: 3})
}

func TestUnregister(t *testing.T) {
	srv := authsectest.NewServer()
	defer srv.Close()
	c := newCollector()
	one := c.register(t, newSource(t, srv.Config(authsectest.ClientID)), agentName("one"))
	other := c.register(t, newSource(t, srv.Config(authsectest.ClientID)), agentName("other"))
	for range 2 { // the second time does nothing
		if err := one.Unregister(); err != nil {
			t.Fatal(err)
		}
		if got := c.values(t, "one"); len(got) > 0 {
			t.Errorf("after Unregister, got %v", got)
		}
		c.check(t, "other", nil)
	}
	if err := other.Unregister(); err != nil {
		t.Fatal(err)
	}
	if got := c.values(t, "other"); len(got) > 0 {
		t.Errorf("after the last Unregister, got %v", got)
	}
}

// Sources are made, used and unregistered while two readers collect. The SDK runs
// one collection of a reader at a time.
func TestConcurrency(t *testing.T) {
	srv := authsectest.NewServer()
	defer srv.Close()
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	cfg := srv.Config(authsectest.ClientID)
	cfg.Cache = shared(&memory{entries: map[string][]byte{}})
	c, other := collector{reader: sdkmetric.NewManualReader()}, sdkmetric.NewManualReader()
	c.provider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(c.reader), sdkmetric.WithReader(other))
	done := make(chan struct{})
	var collecting, working sync.WaitGroup
	for _, c := range []collector{c, {reader: other}} {
		collecting.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					c.collect(t)
				}
			}
		})
	}
	for i := range 4 {
		working.Go(func() {
			for j := range 10 {
				src, err := authsec.NewSource(cfg)
				if err != nil {
					t.Error(err)
					return
				}
				reg, err := otelmetrics.Register(src, otelmetrics.WithMeterProvider(c.provider), agentName(fmt.Sprint(i, j)))
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := src.Token(); err != nil {
					t.Error(err)
				}
				if j == 9 { // the last one stays
					continue
				}
				if err := reg.Unregister(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	working.Wait()
	close(done)
	collecting.Wait()
	for i := range 4 {
		if got := c.values(t, fmt.Sprint(i, 9)); got[hits]+got[misses] != 1 || got[expiry] == 0 {
			t.Errorf("Source %d has %v, want one lookup and an expiry", i, got)
		}
		if got := c.values(t, fmt.Sprint(i, 0)); len(got) > 0 {
			t.Errorf("Source %d has %v after Unregister", i, got)
		}
	}
}

// global is set as the global provider, which can be set only once.
var global = newCollector()

// Without a provider, the global one is used, even if it is set later.
func TestGlobalProvider(t *testing.T) {
	srv := authsectest.NewServer()
	defer srv.Close()
	register := func(name string) {
		t.Helper()
		reg, err := otelmetrics.Register(newSource(t, srv.Config(authsectest.ClientID)), agentName(name), otelmetrics.WithMeterProvider(nil))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { reg.Unregister() })
	}
	register("before")
	otel.SetMeterProvider(global.provider)
	register("after")
	global.check(t, "before", nil)
	global.check(t, "after", nil)
}

// No metric has the token in it, or the client ID, or its first digits.
func TestNoSecrets(t *testing.T) {
	srv := authsectest.NewServer()
	defer srv.Close()
	token := srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	src := newSource(t, srv.Config(authsectest.ClientID))
	c := newCollector()
	c.register(t, src)
	if _, err := src.Token(); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(c.collect(t))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), fetches) {
		t.Fatal("the text has no metrics")
	}
	for what, secret := range map[string]string{"the token": token, "the client ID": authsectest.ClientID[:8]} {
		if strings.Contains(string(text), secret) {
			t.Errorf("the metrics have %s", what)
		}
	}
}

func TestRegisterErrors(t *testing.T) {
	srv := authsectest.NewServer()
	defer srv.Close()
	src := newSource(t, srv.Config(authsectest.ClientID))
	failingAt := func(name string) otelmetrics.Option {
		return otelmetrics.WithMeterProvider(failing{name: name})
	}
	for _, test := range []struct {
		name string
		src  *authsec.Source
		opt  otelmetrics.Option
		want []string
	}{
		{"no Source", nil, nil, []string{"src is nil"}},
		{"no key", src, otelmetrics.WithAttributes(attribute.String("", "value")), []string{"WithAttributes", "no key"}},
		{"gauge", src, failingAt("authsec.token.expiry"), []string{"no authsec.token.expiry.timestamp"}},
		{"counters", src, failingAt("authsec.cache"), []string{"no authsec.cache.lookups", "no authsec.cache.rejects", "no authsec.cache.failures"}},
		{"callback", src, failingAt("callback"), []string{"no callback"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			reg, err := otelmetrics.Register(test.src, test.opt)
			if err == nil || reg != nil {
				t.Fatalf("got %v, %v, want an error alone", reg, err)
			}
			for _, want := range append(test.want, "otelmetrics: ") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}
