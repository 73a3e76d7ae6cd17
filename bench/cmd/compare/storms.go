// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/bench/peers"
)

// authenticated returns the peers that get a token and make requests with it.
func authenticated() []peers.Peer {
	return peers.Named(peers.AuthSec, peers.OAuth2, peers.Retryable, peers.GoogleAuth, peers.AzCore)
}

const (
	stormClients = 256
	stormCalls   = 10 // of each client, after the revocation
)

// measureStorm measures a revocation followed by a new delegation.
func measureStorm(scale) (*findings, error) {
	f := &findings{
		title: "401 storm",
		text: fmt.Sprintf(`
%d clients have a token that lives for an hour. An admin revokes it and delegates again. Then all clients make %d calls each, at the same time.`, stormClients, stormCalls),
		head: []string{"", fmt.Sprintf("failed of the first %d", stormClients), fmt.Sprintf("failed of all %d", stormClients*stormCalls), "fetches"},
	}
	for _, p := range authenticated() {
		l := newLab(labOptions{})
		l.Delegate(authsectest.ClientID, authsectest.Delegation{})
		client, err := l.client(p, l.job())
		if err != nil {
			return nil, err
		}
		call := func(int) error { return get(context.Background(), client, l.api.URL) }
		if n := together(stormClients, call); n > 0 {
			return nil, fmt.Errorf("%s: %d calls failed before the revocation", p.Name, n)
		}
		before := len(l.asked())
		l.Revoke(authsectest.ClientID)
		l.Delegate(authsectest.ClientID, authsectest.Delegation{})
		first := together(stormClients, call)
		all := first
		for range stormCalls - 1 {
			all += together(stormClients, call)
		}
		fetches := len(l.asked()) - before
		l.close()
		f.row(name(p), fmt.Sprint(first), fmt.Sprint(all), fmt.Sprint(fetches))
		if p.Name == peers.AuthSec {
			f.must(all == 0 && fetches == 1, "0 failures, 1 fetch", "%d failures, %d fetches", all, fetches)
		}
	}
	return f, nil
}

// measureOutage makes requests while the endpoint is down and the token is still good.
func measureOutage(size scale) (*findings, error) {
	const clients, interval, outageMargin = 16, 50 * time.Millisecond, 500 * time.Millisecond
	early := size.outageLife / 3
	f := &findings{
		title: "Endpoint down, token still good",
		text: fmt.Sprintf(`
A token lives for %v. Peers with such an option renew it %v ahead (x/oauth2's default is 10 s). The AuthSec server stops once each peer has the token. %d clients go on
with a call every %v, until %v before the JWT's expiry. All peers run at the same time.`, size.outageLife, early.Round(time.Millisecond), clients, interval, outageMargin),
		head: []string{"", "requests", "failed", "first failure before expiry"},
	}
	type outcome struct {
		samples []sample
		total   time.Duration
		err     error
	}
	outcomes := make([]outcome, len(authenticated()))
	var done sync.WaitGroup
	for i, p := range authenticated() {
		done.Go(func() {
			o := &outcomes[i]
			l := newLab(labOptions{})
			defer l.close()
			// A JWT's exp has whole seconds: begin with a new second, so that nothing is lost.
			time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second)))
			expiry := time.Now().Truncate(time.Second).Add(size.outageLife)
			l.Delegate(authsectest.ClientID, authsectest.Delegation{TTL: size.outageLife})
			job := l.job()
			job.Early = early
			client, err := l.client(p, job)
			if err == nil {
				err = get(context.Background(), client, l.api.URL)
			}
			if o.err = err; err != nil {
				return
			}
			l.auth.Close()
			o.total = time.Until(expiry) - outageMargin
			o.samples = paced(clients, interval, o.total, func(ctx context.Context) error {
				ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
				defer cancel()
				return get(ctx, client, l.api.URL)
			})
			// Ignore requests that began so late that the token may have expired.
			o.samples = slices.DeleteFunc(o.samples, func(s sample) bool { return s.at+s.late > o.total })
		})
	}
	done.Wait()
	for i, p := range authenticated() {
		o := outcomes[i]
		if o.err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, o.err)
		}
		var first time.Duration
		for _, s := range o.samples {
			if s.err != nil {
				first = max(first, o.total+outageMargin-s.at)
			}
		}
		shown := "none"
		if first > 0 {
			shown = first.Round(100 * time.Millisecond).String()
		}
		f.row(name(p), fmt.Sprint(len(o.samples)), fmt.Sprint(failures(o.samples)), shown)
		if p.Name == peers.AuthSec {
			f.must(failures(o.samples) == 0, "0 failures until true expiry", "%d of %d", failures(o.samples), len(o.samples))
		}
	}
	return f, nil
}

const (
	serverLimit   = 100 // requests a minute from one address, as at AuthSec's servers
	burstRequests = 1000
)

// delegationContestants adds the renewal rule of AuthSec's own SDKs.
func delegationContestants() []peers.Peer {
	sdk := peers.Named(peers.OAuth2)[0]
	sdk.Name = "x/oauth2, renewing in the last 5 min"
	return append(authenticated(), sdk)
}

// fiveMinutes sets the window of AuthSec's Python and TypeScript SDKs.
func fiveMinutes(i int, job peers.Job) peers.Job {
	if i == len(authenticated()) {
		job.Early = 5 * time.Minute
	}
	return job
}

const burstTitle = "A 5-minute delegation, and a burst"

// measureBurst makes 1,000 requests at once with a delegation of 5 minutes.
func measureBurst(scale) (*findings, error) {
	f := &findings{
		title: burstTitle,
		text: fmt.Sprintf(`
A delegation of 5 minutes, a server that allows %d fetches a minute, and %d requests by %d clients, as fast as possible. Each peer has its own defaults.
The last line is x/oauth2 with the renewal rule of AuthSec's Python and TypeScript SDKs, not these SDKs themselves.`, serverLimit, burstRequests, loadClients),
		head: []string{"", "failed", "fetches", "answers of 429"},
	}
	for i, p := range delegationContestants() {
		l := newLab(labOptions{})
		l.LimitRate(serverLimit, time.Minute)
		l.Delegate(authsectest.ClientID, authsectest.Delegation{TTL: 5 * time.Minute})
		client, err := l.client(p, fiveMinutes(i, l.job()))
		if err != nil {
			return nil, err
		}
		var left atomic.Int64
		var failed atomic.Int64
		left.Store(burstRequests)
		together(loadClients, func(int) error {
			for left.Add(-1) >= 0 {
				if get(context.Background(), client, l.api.URL) != nil {
					failed.Add(1)
				}
			}
			return nil
		})
		fetches := len(l.asked())
		l.close()
		f.row(name(p), fmt.Sprint(failed.Load()), fmt.Sprint(fetches), fmt.Sprint(l.limited.Load()))
		if p.Name == peers.AuthSec {
			f.must(failed.Load() == 0 && fetches == 1, "0 failures, 1 fetch", "%d failures, %d fetches", failed.Load(), fetches)
		}
	}
	return f, nil
}

// measureSpread makes the same requests, evenly over the delegation's life.
func measureSpread(size scale) (*findings, error) {
	f := &findings{
		title: "A 5-minute delegation, and its whole life",
		text: fmt.Sprintf(`
The same, with %d requests spread evenly over the delegation's %v, during the measurements above. The server gives out the same token until it expires, as AuthSec does, so
every fetch after the first brings nothing new. The table shows how many each peer makes.`, burstRequests, size.spreadLife),
		head: []string{"", "failed", "fetches"},
	}
	type outcome struct {
		failed, fetches int
		err             error
	}
	contestants := delegationContestants()
	outcomes := make([]outcome, len(contestants))
	var done sync.WaitGroup
	for i, p := range contestants {
		done.Go(func() {
			o := &outcomes[i]
			l := newLab(labOptions{})
			defer l.close()
			l.LimitRate(serverLimit, time.Minute)
			l.Delegate(authsectest.ClientID, authsectest.Delegation{TTL: size.spreadLife})
			client, err := l.client(p, fiveMinutes(i, l.job()))
			if o.err = err; err != nil {
				return
			}
			const clients = 4
			total := size.spreadLife - 1500*time.Millisecond // the JWT's exp is in whole seconds
			samples := paced(clients, clients*total/burstRequests, total, func(ctx context.Context) error { return get(ctx, client, l.api.URL) })
			samples = slices.DeleteFunc(samples, func(s sample) bool { return s.at+s.late > total }) // the token may have expired
			o.failed, o.fetches = failures(samples), len(l.asked())
		})
	}
	done.Wait()
	for i, p := range contestants {
		o := outcomes[i]
		if o.err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, o.err)
		}
		f.row(name(p), fmt.Sprint(o.failed), fmt.Sprint(o.fetches))
		if p.Name == peers.AuthSec {
			const most = 21 // the first, and at most 20 in a window
			f.must(o.failed == 0 && o.fetches <= most, fmt.Sprintf("0 failures, at most %d fetches", most), "%d failures, %d fetches", o.failed, o.fetches)
		}
	}
	return f, nil
}
