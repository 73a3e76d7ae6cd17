// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"flag"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
)

var forgottenTime = flag.Duration("forgotten", 16*time.Second, "how long TestPingsBesideNone sends requests")

const (
	// recovery is how soon after its connection is forgotten a client must be
	// answered again: pings give it up after 9 s.
	recovery = 20 * time.Second

	pause    = 13 * time.Second // longer than the 9 s
	patience = 40 * time.Second // of a caller, for one call
	hurry    = 5 * time.Second  // of one that does not wait for pings
)

// needSystemRoots skips a test of transports with default settings where they can't be
// made to trust the servers.
func needSystemRoots(t *testing.T) {
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
		t.Skip(certFile, " is not read on ", runtime.GOOS)
	}
}

// moments are when a connection is forgotten.
var moments = []struct {
	name   string
	forget func(l *lane, send sender) (answered bool, lost int) // calls of its own
	vain   int64                                                // requests that arrive, and whose answer is lost
	spared bool                                                 // no call is lost, and none waits
}{
	{name: "idle", forget: func(l *lane, _ sender) (bool, int) {
		l.forgetful.forget()
		return false, 0
	}},
	{name: "under way", vain: 1, forget: func(l *lane, send sender) (bool, int) {
		lost := len(l.together(1, send, patience, l.forgetful.forget))
		return lost == 0, lost
	}},
	{name: "idle for longer than pings take", spared: true, forget: func(l *lane, _ sender) (bool, int) {
		l.forgetful.forget()
		time.Sleep(pause)
		return false, 0
	}},
}

// TestForgottenConnection: a NAT forgets a connection over HTTP/2. All parts of the
// library that make connections of their own notice it, with the settings that their
// users have.
func TestForgottenConnection(t *testing.T) {
	needSystemRoots(t)
	if _, err := program(); err != nil { // while no other test runs
		t.Fatal(err)
	}
	t.Parallel()
	for _, p := range parts {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			var cases sync.WaitGroup
			for _, m := range moments { // no subtests: all wait at the same time
				l := newLane(t, wires[1], p.endpoint)
				send, err := p.open(l)
				if err != nil {
					t.Fatal(err)
				}
				cases.Go(func() {
					if err := send.within(patience); err != nil {
						t.Errorf("%s: before: got error %v, want none", m.name, err)
						return
					}
					time.Sleep(p.rest)
					asked, began := l.asked.Load(), time.Now()
					answered, lost := m.forget(l, send)
					limit, most := recovery, p.lost
					if m.spared {
						began, limit, most = time.Now(), schedulingAllowance, 0
					}
					for !answered && time.Since(began) < limit {
						if err := send.within(patience); err != nil {
							lost++
							t.Logf("%s: lost: %v", m.name, err)
						} else {
							answered = true
						}
					}
					took, arrived := time.Since(began), l.asked.Load()-asked
					t.Logf("%s: answered %t after %v, %d calls lost, %d requests arrived", m.name, answered, took.Round(time.Millisecond), lost, arrived)
					if !answered || took > limit || lost > most || arrived != 1+m.vain {
						t.Errorf("%s: got answered %t after %v, %d calls lost, %d requests arrived; want true within %v, at most %d, and %d",
							m.name, answered, took, lost, arrived, limit, most, 1+m.vain)
					}
				})
			}
			cases.Wait()
		})
	}
}

// TestForgottenConnectionOverHTTP1: HTTP/1.1 has no pings. A forgotten connection costs
// one request, which ends only with its own context. The next one is answered.
func TestForgottenConnectionOverHTTP1(t *testing.T) {
	t.Parallel()
	const (
		conns   = 2 // that net/http keeps idle for a host
		timeout = recovery / conns
	)
	open := func() (*lane, sender) {
		l := newLane(t, wires[0], false)
		client, err := authsec.NewClient(l.config())
		if err != nil {
			t.Fatal(err)
		}
		return l, l.requests(client, http.MethodGet, l.apiURL())
	}
	var cases sync.WaitGroup
	idle, idleSend := open()
	cases.Go(func() {
		if failed := idle.together(conns, idleSend, patience, func() {}); len(failed) > 0 {
			t.Errorf("before: got errors %v, want none", failed)
		}
		idle.forgetful.forget()
		for range conns {
			if err := idleSend.within(timeout); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("idle: got error %v, want %v", err, context.DeadlineExceeded)
			}
		}
		if err := idleSend.within(schedulingAllowance); err != nil || idle.asked.Load() != conns+1 {
			t.Errorf("idle: after that: got error %v, %d requests arrived in all; want none, %d", err, idle.asked.Load(), conns+1)
		}
	})
	busy, busySend := open()
	cases.Go(func() {
		if failed := busy.together(1, busySend, recovery, busy.forgetful.forget); len(failed) != 1 || !errors.Is(failed[0], context.DeadlineExceeded) {
			t.Errorf("under way: got errors %v, want one %v", failed, context.DeadlineExceeded)
		}
		if err := busySend.within(schedulingAllowance); err != nil || busy.asked.Load() != 2 {
			t.Errorf("under way: after that: got error %v, %d requests arrived in all; want none, 2", err, busy.asked.Load())
		}
	})
	cases.Wait()
}

// TestPingsBesideNone sends requests with short time-outs, one after the other, over a
// forgotten connection: with NewTransport's Base, and with a plain http.Transport.
func TestPingsBesideNone(t *testing.T) {
	t.Parallel()
	needSystemRoots(t)
	if *forgottenTime <= pause {
		t.Fatalf("-forgotten is %v, want more than %v", *forgottenTime, pause)
	}
	var sides sync.WaitGroup
	for _, pings := range []bool{true, false} {
		l := newLane(t, wires[1], false)
		transport, err := authsec.NewTransport(l.config())
		if err != nil {
			t.Fatal(err)
		}
		plain := func() *http.Transport { return &http.Transport{ForceAttemptHTTP2: true} }
		if !pings {
			transport.Base = plain()
		}
		send := l.requests(&http.Client{Transport: transport}, http.MethodGet, l.apiURL())
		sides.Go(func() {
			if err := send.within(patience); err != nil {
				t.Errorf("before: got error %v, want none", err)
				return
			}
			l.forgetful.forget()
			failed, answered, first := 0, 0, time.Duration(0)
			for began := time.Now(); time.Since(began) < *forgottenTime; {
				if send.within(hurry) != nil {
					failed++
					continue
				}
				if answered++; answered == 1 {
					first = time.Since(began)
				}
				time.Sleep(100 * time.Millisecond)
			}
			t.Logf("%v of requests with time-outs of %v, pings %t: %d failed, %d answered (the first after %v; 0: none)",
				*forgottenTime, hurry, pings, failed, answered, first.Round(time.Millisecond))
			if pings {
				if most := int(recovery / hurry); failed > most || answered == 0 {
					t.Errorf("with pings: %d requests failed, %d were answered; want at most %d, and the others", failed, answered, most)
				}
				return
			}
			if answered > 0 {
				t.Errorf("without pings: %d requests were answered, want none, or this tests nothing", answered)
			}
			other := plain()
			defer other.CloseIdleConnections()
			fresh := &authsec.Transport{Source: transport.Source, Base: other, Hosts: transport.Hosts}
			if err := l.requests(&http.Client{Transport: fresh}, http.MethodGet, l.apiURL()).within(hurry); err != nil {
				t.Errorf("without pings, over a new connection: got error %v, want none", err)
			}
		})
	}
	sides.Wait()
}
