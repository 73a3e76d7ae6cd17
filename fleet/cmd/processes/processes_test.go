// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec/fleet/internal/agent"
)

func TestMain(m *testing.M) {
	if os.Getenv(agent.Env) != "" {
		agent.Main()
	}
	if os.Getenv(parentEnv) != "" {
		parent()
		return
	}
	os.Exit(m.Run())
}

// TestFleets checks authsec's aims. The other peers must miss them, or the aims would
// prove nothing.
func TestFleets(t *testing.T) {
	small := scale{agents: 10, limit: 5, window: time.Second, life: 4 * time.Second, renewals: 1, together: true}
	contests := small.contests()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("AUTHSEC_REQUIRE_REDIS") != "" {
			t.Fatal(errNoRedis)
		}
		contests = slices.DeleteFunc(contests, func(c contest) bool { return c.peer == agent.ByRedis })
		defer t.Skip("in part: ", errNoRedis)
	}
	outcomes, err := small.measureAll(t.Context(), contests)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range outcomes {
		for _, a := range o.aims() {
			if !a.met {
				t.Errorf("%s: want %s, got %s", o.peer, a.want, a.got)
			}
		}
		for k, p := range o.phases {
			t.Logf("%s: delegation %d: %s requests, %d agents have its token", o.peer, k, o.requests(k), p.holders)
		}
		if o.shares && o.exceeded > 0 {
			t.Errorf("%s: the limit was exceeded in %d windows, want none", o.peer, o.exceeded)
		}
		if !o.shares && o.exceeded == 0 {
			t.Errorf("%s: the limit was not exceeded: the fleet does not begin at once", o.peer)
		}
		if o.aims() == nil && o.failures == 0 {
			t.Errorf("%s: no call failed: then there is nothing to be had from a cache", o.peer)
		}
	}
}

// TestAgentsEnd checks that agents end at an order, with their input, and in time.
func TestAgentsEnd(t *testing.T) {
	srv := newServer(1, time.Minute) // so that calls wait
	defer srv.close()
	for _, tc := range []struct {
		name  string
		limit time.Duration
		end   func(h *herd) error
		want  string // in their error; "": none
	}{
		{"at the order", time.Minute, func(h *herd) error { return h.order("end") }, ""},
		{"when their input ends", time.Minute, func(h *herd) error {
			var faults []error
			for _, p := range h.agents {
				faults = append(faults, p.in.Close())
			}
			return errors.Join(faults...)
		}, "the process that started it has ended"},
		{"when their time is up", time.Second, func(*herd) error { return nil }, "no order to end came within 1s"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, err := newHerd(t.Context(), 3, agent.Job{Peer: agent.Alone, BaseURL: srv.http.URL, Limit: tc.limit})
			if err != nil {
				t.Fatal(err)
			}
			defer h.close()
			if err := h.order(time.Now()); err != nil {
				t.Fatal(err)
			}
			if err := tc.end(h); err != nil {
				t.Fatal(err)
			}
			for ended := 0; ended < len(h.agents); {
				select {
				case r := <-h.reports:
					if r.exited {
						ended++
						if tc.want == "" && r.err != nil || tc.want != "" && (r.err == nil || !strings.Contains(r.err.Error(), tc.want)) {
							t.Errorf("an agent failed with %v, want %q", r.err, tc.want)
						}
					}
				case <-time.After(endTime):
					t.Fatalf("%d of %d agents ended within %v", ended, len(h.agents), endTime)
				}
			}
		})
	}
}

// parentEnv, if it is set, makes this program a parent for TestParentIsKilled.
const parentEnv = "AUTHSEC_FLEET_PARENT"

// parent starts agents, and Redis if it is installed. It prints their process IDs and
// waits to be killed.
func parent() {
	ctx := context.Background()
	h, err := newHerd(ctx, 3, agent.Job{Peer: agent.Alone, BaseURL: "http://127.0.0.1:1", Limit: time.Minute})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for _, p := range h.agents {
		fmt.Println(p.pid)
	}
	server, err := startRedis(ctx)
	if err == nil {
		fmt.Println(server.pid)
	}
	fmt.Println("end")
	h.listen(ctx, time.Now().Add(time.Minute), nil)
}

// TestParentIsKilled checks that no child outlives a parent that is killed.
func TestParentIsKilled(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("processes are tied to their parent on Linux alone")
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = append(os.Environ(), parentEnv+"=1", "TMPDIR="+t.TempDir()) // a killed parent removes no directory
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := start(cmd); err != nil {
		t.Fatal(err)
	}
	var pids []string
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "end" {
		pids = append(pids, lines.Text())
	}
	if len(pids) < 3 {
		t.Errorf("the parent started %q, want 3 agents at least", pids)
	}
	cmd.Process.Kill()
	cmd.Wait() // its error is that it was killed
	for _, pid := range pids {
		for deadline := time.Now().Add(endTime); lives(pid); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				n, _ := strconv.Atoi(pid)
				if p, err := os.FindProcess(n); err == nil {
					p.Kill()
				}
				t.Errorf("process %s was left", pid)
				break
			}
		}
	}
}

// lives reports whether a process runs. A zombie does not.
func lives(pid string) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	_, state, _ := strings.Cut(string(stat), ") ")
	return err == nil && !strings.HasPrefix(state, "Z")
}

func TestWindows(t *testing.T) {
	const length = 10 * time.Second
	begin := time.Now()
	at := func(seconds float64, status int) request {
		return request{came: begin.Add(time.Duration(seconds * float64(time.Second))), status: status}
	}
	for _, tc := range []struct {
		name          string
		list          []request
		exceeded, row int
	}{
		{"none", nil, 0, 0},
		{"within the limit", []request{at(0, 200), at(9, 200), at(10, 200)}, 0, 0},
		{"one", []request{at(0, 200), at(9.9, 429), at(10, 200)}, 1, 1},
		{"two in a row", []request{at(0, 200), at(9.9, 429), at(10, 200), at(11, 429), at(25, 200)}, 2, 2},
		{"two apart", []request{at(0, 200), at(1, 429), at(10, 200), at(19.9, 200), at(20, 200), at(21, 429)}, 2, 1},
		{"a 429 begins none", []request{at(0, 200), at(10, 429), at(10.1, 200)}, 1, 1},
		{"the second begins late", []request{at(0, 200), at(15, 200), at(24, 429)}, 1, 1},
	} {
		if exceeded, row := windows(tc.list, length); exceeded != tc.exceeded || row != tc.row {
			t.Errorf("%s: got %d, %d in a row, want %d, %d", tc.name, exceeded, row, tc.exceeded, tc.row)
		}
	}
}

// TestAimsAreMissed checks that each aim can be missed.
func TestAimsAreMissed(t *testing.T) {
	for _, tc := range []struct {
		want  string
		spoil func(o *outcome)
	}{
		{"no failed call", func(o *outcome) { o.failures = 1 }},
		{"no agent gets an older token", func(o *outcome) { o.back = 1 }},
		{"all have the last", func(o *outcome) { o.phases[1].holders = 9 }},
		{"one request", func(o *outcome) { o.phases[0].given = 2 }},
		{"one request", func(o *outcome) { o.phases[1].given = 0 }},
		{"one request", func(o *outcome) { o.phases[1].limited = 1 }},
		{"one request", func(o *outcome) { o.phases[1].other = 1 }},
		{"within 2s", func(o *outcome) { o.spread = maxSpread + 1 }},
		{"within 2s", func(o *outcome) { o.without = 1 }},
		{"no process gets two 429s", func(o *outcome) { o.shares, o.phases[0].limited = false, 6 }},
		{"two windows in a row", func(o *outcome) { o.shares, o.exceedRow = false, 2 }},
	} {
		o := &outcome{
			contest: contest{peer: agent.ByRedis, shares: true}, size: scale{agents: 10, limit: 5},
			phases: []phase{{given: 1, holders: 10}, {given: 1, holders: 10}},
		}
		for _, a := range o.aims() {
			if !a.met {
				t.Errorf("%s is missed before it was spoilt", a.want)
			}
		}
		tc.spoil(o)
		missed := slices.ContainsFunc(o.aims(), func(a aim) bool { return !a.met && strings.Contains(a.want, tc.want) })
		if !missed {
			t.Errorf("%s is met after it was spoilt", tc.want)
		}
	}
}

// TestJudge checks that an outcome has what the agents reported.
func TestJudge(t *testing.T) {
	begin := time.Now().Add(-time.Hour)
	at := func(seconds int) time.Time { return begin.Add(time.Duration(seconds) * time.Second) }
	agents := []*process{
		{tokens: []token{{at(1), "first"}, {at(11), "second"}}, end: &agent.End{Longest: 1}},
		{tokens: []token{{at(3), "first"}, {at(12), "second"}, {at(13), "first"}, {at(14), "second"}},
			failures: []time.Time{at(2)}, failure: "why", end: &agent.End{Longest: 3}},
		{tokens: []token{{at(12), "second"}}, end: &agent.End{Longest: 2}},
	}
	asked := []request{{at(0), at(0), 429}, {at(1), at(1), 200}, {at(2), at(2), 500}, {at(11), at(11), 200}}
	delegated, hashes := []time.Time{at(0), at(10)}, []string{"first", "second"}
	size := scale{agents: 3, limit: 1, window: 5 * time.Second}
	o, err := size.judge(contest{}, agents, asked, begin, delegated, hashes)
	if err != nil {
		t.Fatal(err)
	}
	want := &outcome{
		size: size, all: 12 * time.Second, spread: 11 * time.Second,
		phases:   []phase{{given: 1, limited: 1, other: 1, holders: 2}, {given: 1, holders: 3}},
		failures: 1, failure: "why", longest: 3, back: 1, exceeded: 1, exceedRow: 1,
	}
	if !reflect.DeepEqual(o, want) {
		t.Errorf("got  %+v\nwant %+v", o, want)
	}
	agents[0].tokens = nil
	if o, err := size.judge(contest{}, agents, asked, begin, delegated, hashes); err != nil || o.without != 1 {
		t.Errorf("%+v, %v, want 1 without a token", o, err)
	}
	agents[1].tokens[0].hash = "another"
	if _, err := size.judge(contest{}, agents, asked, begin, delegated, hashes); err == nil {
		t.Error("a token that was never delegated: no error")
	}
}

func TestWriteInto(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	if err := writeInto(page, "new"); err != nil {
		t.Errorf("a page that does not exist: %v, want no error", err)
	}
	for old, want := range map[string]string{
		"a\n<!-- processes -->\nold\n<!-- /processes -->\nb\n": "a\n<!-- processes -->\n\nnew\n<!-- /processes -->\nb\n",
		"<!-- /processes --><!-- processes -->":                "",
		"nothing":                                              "",
	} {
		if err := os.WriteFile(page, []byte(old), 0o644); err != nil {
			t.Fatal(err)
		}
		err := writeInto(page, "new")
		got, _ := os.ReadFile(page)
		if want == "" {
			if err == nil || string(got) != old {
				t.Errorf("%q: became %q, %v, want an error", old, got, err)
			}
		} else if err != nil || string(got) != want {
			t.Errorf("%q: became %q, %v, want %q", old, got, err, want)
		}
	}
}

func TestRedisIsMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := startRedis(t.Context()); !errors.Is(err, errNoRedis) {
		t.Errorf("got %v, want %v", err, errNoRedis)
	}
}
