// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/bench/peers"
)

const (
	loadClients = 64

	renewalEarly    = time.Second // authsec's default for a life of 5 s: a fifth
	endpointLatency = 300 * time.Millisecond
	renewalInterval = 32 * time.Millisecond // of each client; 2,000 requests a second in all
)

// quiet discards the servers' messages about broken connections.
var quiet = log.New(io.Discard, "", 0)

// withTransport returns the peers that make requests, including the bare client.
func withTransport() []peers.Peer {
	var list []peers.Peer
	for _, p := range peers.All {
		if p.RoundTripper != nil {
			list = append(list, p)
		}
	}
	return list
}

// measureThroughput counts requests a second in a closed loop.
func measureThroughput(size scale) (*findings, error) {
	l := newLab(labOptions{open: true})
	defer l.close()
	l.Delegate(authsectest.ClientID, authsectest.Delegation{})
	contestants := withTransport()
	rates := map[string][]float64{}
	calls := make([]func(context.Context) error, len(contestants))
	for i, p := range contestants {
		client, err := l.client(p, l.job())
		if err != nil {
			return nil, err
		}
		calls[i] = func(ctx context.Context) error { return get(ctx, client, l.api.URL) }
		if err := calls[i](context.Background()); err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	for round := range size.loadRounds {
		for i := range contestants {
			n := (i + round) % len(contestants) // each goes first once
			rate, err := closedLoop(loadClients, size.loadTime, calls[n])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", contestants[n].Name, err)
			}
			rates[contestants[n].Name] = append(rates[contestants[n].Name], rate)
		}
	}
	f := &findings{
		title: "End to end",
		text: fmt.Sprintf(`
GETs over loopback TLS and HTTP/2, keep-alive, %d clients in a closed loop, with a good token. The API does not verify tokens, so that its work is the
same for all. The floor shows the cost of the header on the wire. %d rounds of %v each, in turns.`, loadClients, size.loadRounds, size.loadTime),
		head: []string{"", "requests/s (median)", "of no authentication", "of the floor"},
	}
	for _, p := range contestants {
		f.row(name(p), fmt.Sprintf("%.0f", median(rates[p.Name])),
			spread(ratios(rates[p.Name], rates[peers.Bare])), spread(ratios(rates[p.Name], rates[peers.ReadyHeader])))
	}
	list := ratios(rates[peers.AuthSec], rates[peers.Bare])
	f.aim(median(list) >= 0.97, "within 3 % of a client without authentication", "%s", spread(list))
	list = ratios(rates[peers.AuthSec], rates[peers.ReadyHeader])
	f.aim(median(list) >= 0.97, "within 3 % of a client that sends the same header from a constant", "%s", spread(list))
	return f, nil
}

// closedLoop runs clients that make one call after the other.
func closedLoop(clients int, d time.Duration, do func(context.Context) error) (perSecond float64, err error) {
	ctx := context.Background()
	var n atomic.Int64
	var first atomic.Pointer[error]
	var done sync.WaitGroup
	began := time.Now()
	for range clients {
		done.Go(func() {
			for time.Since(began) < d {
				if err := do(ctx); err != nil {
					first.CompareAndSwap(nil, &err)
					return
				}
				n.Add(1)
			}
		})
	}
	done.Wait()
	if e := first.Load(); e != nil {
		return 0, *e
	}
	return float64(n.Load()) / time.Since(began).Seconds(), nil
}

// renewal is one peer's run with renewals.
type renewal struct {
	title   string
	samples []sample
	fetches []time.Duration // when the endpoint got requests, since the load began
}

// measureRenewal measures the latency of every request while tokens are renewed.
func measureRenewal(size scale) (*findings, error) {
	f := &findings{
		title: "Renewal under load",
		text: fmt.Sprintf(`
%d clients, each with a GET every %v, for %v over TLS and HTTP/2. A token lives for %v, an admin delegates again twice a second, and the endpoint takes
%v to answer. Peers with such an option renew %v before expiry. Latency counts from the time at which a request was due, so a pause counts for every request that it
delays. "Waited" is the number of requests that took more than half of the endpoint's time. The first line is authsec with a token that lives for an hour.`,
			loadClients, renewalInterval, size.renewalTime, size.renewalLife, endpointLatency, renewalEarly),
		head: []string{"", "requests", "failed", "fetches", "p50", "p99", "p99.9", "max", "waited"},
	}
	contestants := peers.Named(peers.AuthSec, peers.OAuth2, peers.Retryable, peers.GoogleAuth, peers.AzCore)
	var runs []renewal
	for i, p := range append(peers.Named(peers.AuthSec), contestants...) {
		life, title := size.renewalLife, name(p)
		if i == 0 {
			life, title = time.Hour, "authsec, no renewals"
		}
		r, err := renewUnderLoad(p, life, size.renewalTime)
		if err != nil {
			return nil, err
		}
		r.title = title
		runs = append(runs, *r)
	}
	waited := make([]int, len(runs))
	tails := make([][2]float64, len(runs)) // p99.9 and max
	for i, r := range runs {
		var took []float64
		for _, s := range r.samples {
			took = append(took, s.took.Seconds())
			if s.took > endpointLatency/2 {
				waited[i]++
			}
		}
		tails[i] = [2]float64{quantile(took, 0.999), slices.Max(took)}
		f.row(r.title, fmt.Sprint(len(took)), fmt.Sprint(failures(r.samples)), fmt.Sprint(len(r.fetches)),
			ms(quantile(took, 0.5)), ms(quantile(took, 0.99)), ms(tails[i][0]), ms(tails[i][1]), fmt.Sprint(waited[i]))
	}
	least := max(1, int(size.renewalTime/size.renewalLife)/2) // renewals; without them no request could wait
	f.must(failures(runs[1].samples) == 0 && len(runs[1].fetches) >= least, fmt.Sprintf("no request fails, in %d renewals or more", least), "%d failed, %d fetches", failures(runs[1].samples), len(runs[1].fetches))
	f.aim(waited[1] == 0, "no request waits for a renewal", "%d waited, %d failed, %d fetches", waited[1], failures(runs[1].samples), len(runs[1].fetches))
	const factor = 2
	bound := max(factor*tails[0][1], endpointLatency.Seconds()/10)
	f.aim(tails[1][0] <= factor*tails[0][0], fmt.Sprintf("p99.9 as without renewals: at most %d times that", factor), "%s against %s", ms(tails[1][0]), ms(tails[0][0]))
	f.aim(tails[1][1] <= bound, fmt.Sprintf("max as without renewals: at most %d times that, or a tenth of the endpoint's time", factor), "%s against %s", ms(tails[1][1]), ms(tails[0][1]))
	p999, slowest := map[string]float64{}, map[string]float64{}
	for i, p := range contestants {
		p999[p.Name], slowest[p.Name] = tails[i+1][0], tails[i+1][1]
	}
	f.rank("p99.9 under renewals", ms, p999)
	f.rank("max under renewals", ms, slowest)
	plot, err := plotRenewals(runs, size.renewalTime)
	f.plots = append(f.plots, plot)
	return f, err
}

func renewUnderLoad(p peers.Peer, life, total time.Duration) (*renewal, error) {
	l := newLab(labOptions{})
	defer l.close()
	delegate := func() { l.Delegate(authsectest.ClientID, authsectest.Delegation{TTL: life}) }
	delegate()
	job := l.job()
	job.Early = renewalEarly
	client, err := l.client(p, job)
	if err != nil {
		return nil, err
	}
	if err := get(context.Background(), client, l.api.URL); err != nil { // the cold start is another measurement
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	}
	l.SetLatency(endpointLatency)
	before := len(l.asked())

	stop := make(chan struct{})
	var admin sync.WaitGroup
	admin.Go(func() {
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				delegate()
			case <-stop:
				return
			}
		}
	})
	began := time.Now()
	r := &renewal{samples: paced(loadClients, renewalInterval, total, func(ctx context.Context) error { return get(ctx, client, l.api.URL) })}
	close(stop)
	admin.Wait()
	for _, at := range l.asked()[before:] {
		r.fetches = append(r.fetches, at.Sub(began))
	}
	return r, nil
}
