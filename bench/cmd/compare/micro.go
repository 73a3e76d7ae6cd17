// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/authsec-go/authsec/bench/peers"
	"golang.org/x/perf/benchfmt"
)

// loads are the ways in which the benchmarks make their calls.
var loads = []string{"serial", "goroutines=1", "goroutines=8", "goroutines=64", "goroutines=1024"}

// figures are the results of one benchmark's rounds.
type figures struct{ ns, bytes, allocs []float64 }

// raw has what the benchmarks printed, for benchstat.
var raw bytes.Buffer

// runBenchmarks builds the benchmarks of a package in the directory dir and runs them
// for size.microRounds rounds. The names in the result have no "Benchmark" and no number
// of processors.
func runBenchmarks(dir, pkg, pattern string, size scale) (map[string]*figures, error) {
	tmp, err := os.MkdirTemp("", "authsec-compare-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	binary := filepath.Join(tmp, "bench.test")
	build := exec.Command("go", "test", "-c", "-o", binary, pkg)
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go test -c %s: %w\n%s", pkg, err, out)
	}
	results := map[string]*figures{}
	for range size.microRounds {
		cmd := exec.Command(binary, "-test.run=^$", "-test.bench="+pattern, "-test.benchtime="+size.microTime.String())
		cmd.Dir = filepath.Join(dir, pkg)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("%s: %w\n%s", pkg, err, out)
		}
		raw.Write(out)
		for r := benchfmt.NewReader(bytes.NewReader(out), pkg); r.Scan(); {
			res, ok := r.Result().(*benchfmt.Result)
			if !ok {
				continue
			}
			name := benchmarkName(res.Name)
			f := results[name]
			if f == nil {
				f = new(figures)
				results[name] = f
			}
			for _, v := range res.Values {
				switch v.Unit {
				case "sec/op":
					f.ns = append(f.ns, v.Value*1e9)
				case "B/op":
					f.bytes = append(f.bytes, v.Value)
				case "allocs/op":
					f.allocs = append(f.allocs, v.Value)
				}
			}
		}
	}
	return results, nil
}

// benchmarkName returns the name without the number of processors.
func benchmarkName(n benchfmt.Name) string {
	base, parts := n.Parts()
	name := string(base)
	for _, part := range parts {
		if !bytes.HasPrefix(part, []byte("-")) {
			name += string(part)
		}
	}
	return name
}

// contest has one benchmark's results by peer and load.
type contest struct {
	benchmark string
	peers     []peers.Peer
	figures   map[string]*figures
}

// taking returns the peers that take part in a contest.
func taking(part func(peers.Peer) bool) (list []peers.Peer) {
	for _, p := range peers.All {
		if part(p) {
			list = append(list, p)
		}
	}
	return list
}

func newContest(benchmark string, size scale, list []peers.Peer) (*contest, error) {
	dir, err := moduleDir()
	if err != nil {
		return nil, err
	}
	c := &contest{benchmark: benchmark, peers: list}
	if c.figures, err = runBenchmarks(dir, "./micro", "^Benchmark"+benchmark+"$", size); err != nil {
		return nil, err
	}
	for _, p := range list {
		for _, load := range loads {
			if f := c.of(p, load); f == nil || len(f.ns) != size.microRounds {
				return nil, fmt.Errorf("no figures for %s of %s, %s", benchmark, p.Name, load)
			}
		}
	}
	return c, nil
}

func (c *contest) of(p peers.Peer, load string) *figures {
	return c.figures[c.benchmark+"/peer="+p.Slug()+"/"+load]
}

// ratio divides one peer's time by another's. It returns the greatest median ratio of
// the loads, and that load's spread.
func (c *contest) ratio(one, another string) (worst float64, shown string) {
	a, p := peers.Peer{Name: one}, peers.Peer{Name: another}
	for _, load := range loads {
		list := ratios(c.of(a, load).ns, c.of(p, load).ns)
		if m := median(list); m > worst {
			worst, shown = m, spread(list)+" at "+load
		}
	}
	return worst, shown
}

// fill makes the table: a row for each peer, with its ratio to base's time.
func (c *contest) fill(f *findings, base string) {
	f.head = append([]string{"ns (median)"}, loads...)
	f.head = append(f.head, "B", "allocs", "of "+base+"'s time, serial", "at goroutines=1024")
	for _, p := range c.peers {
		cells := []string{name(p)}
		for _, load := range loads {
			cells = append(cells, fmt.Sprintf("%.0f", median(c.of(p, load).ns)))
		}
		serial := c.of(p, "serial")
		cells = append(cells, fmt.Sprintf("%.0f", median(serial.bytes)), fmt.Sprintf("%.0f", median(serial.allocs)))
		for _, load := range []string{"serial", "goroutines=1024"} {
			cells = append(cells, spread(ratios(c.of(p, load).ns, c.of(peers.Peer{Name: base}, load).ns)))
		}
		f.row(cells...)
	}
}

// ahead returns the peers that were faster than authsec at any load.
func (c *contest) ahead(except ...string) []string {
	var list []string
	for _, p := range c.peers {
		if p.Name == peers.AuthSec || slices.Contains(except, p.Name) {
			continue
		}
		if worst, _ := c.ratio(peers.AuthSec, p.Name); worst > 1 {
			list = append(list, p.Name)
		}
	}
	return list
}

func measureRoundTrip(size scale) (*findings, error) {
	c, err := newContest("RoundTrip", size, taking(func(p peers.Peer) bool { return p.RoundTripper != nil && p.Name != peers.Bare }))
	if err != nil {
		return nil, err
	}
	f := &findings{title: "What a request costs", text: fmt.Sprintf(`
RoundTrip of a GET with 4 headers over a base that answers at once, with a good token of 900 bytes: `+"`BenchmarkRoundTrip`"+`. Retries are on
if a peer has them. The floor is the minimum that keeps the contract of http.RoundTripper: a copy of the request with a ready header value.
Ratios are medians over %d rounds, with minimum and maximum. The azcore pipeline needs a request of its own type; the copy for that
is counted.`, size.microRounds)}
	c.fill(f, peers.OAuth2)
	a := c.of(peers.Named(peers.AuthSec)[0], "serial")
	toOAuth2, shown := c.ratio(peers.AuthSec, peers.OAuth2)
	f.aim(toOAuth2 <= 0.5, "at most 0.5 of x/oauth2's time", "%s", shown)
	toFloor, shown := c.ratio(peers.AuthSec, peers.ReadyHeader)
	f.aim(toFloor <= 1.25, "at most 1.25 of the floor's time", "%s", shown)
	f.aim(median(a.allocs) <= 3, "3 allocations", "%.0f", median(a.allocs))
	ahead := c.ahead(peers.ReadyHeader)
	f.aim(len(ahead) == 0, "ahead of every peer", "ahead of authsec: %s", orNone(ahead))
	plot, err := c.plot("roundtrip.svg", "RoundTrip")
	f.plots = append(f.plots, plot)
	return f, err
}

func measureToken(size scale) (*findings, error) {
	c, err := newContest("Token", size, taking(func(p peers.Peer) bool { return p.Token != nil }))
	if err != nil {
		return nil, err
	}
	f := &findings{title: "What a token costs", text: `
The peers' caches with a good token: ` + "`BenchmarkToken`" + `. authsec returns a copy to each caller, because x/oauth2 writes into tokens that
it gets. The others return one value to all callers. The floor is such a copy and nothing else: the difference to ReuseTokenSource is
the allocation and its garbage collection. "In RoundTrip" is the cost of the token in authsec's own Transport,
which makes no copy: ` + "`BenchmarkTokenInRoundTrip`" + ` of the package itself, with ReuseTokenSource in the same run.`}
	c.fill(f, peers.OAuth2)

	dir, err := moduleDir()
	if err != nil {
		return nil, err
	}
	inside, err := runBenchmarks(filepath.Dir(dir), ".", "^BenchmarkTokenInRoundTrip$", size)
	if err != nil {
		return nil, err
	}
	of := func(peer, load string) *figures { return inside["TokenInRoundTrip/"+peer+"/"+load] }
	cells := []string{"**authsec**, in RoundTrip"}
	var worst, flat float64
	var shown string
	for _, load := range loads {
		a, reuse := of("authsec", load), of("ReuseTokenSource", load)
		if a == nil || reuse == nil {
			return nil, fmt.Errorf("no figures for TokenInRoundTrip, %s", load)
		}
		cells = append(cells, fmt.Sprintf("%.0f", median(a.ns)))
		list := ratios(a.ns, reuse.ns)
		if m := median(list); m > worst {
			worst, shown = m, spread(list)+" at "+load
		}
		flat = max(flat, median(a.ns)/median(of("authsec", "serial").ns))
	}
	serial := of("authsec", "serial")
	cells = append(cells, fmt.Sprintf("%.0f", median(serial.bytes)), fmt.Sprintf("%.0f", median(serial.allocs)))
	for _, load := range []string{"serial", "goroutines=1024"} {
		cells = append(cells, spread(ratios(of("authsec", load).ns, of("ReuseTokenSource", load).ns)))
	}
	f.row(cells...)

	toOAuth2, tokenShown := c.ratio(peers.AuthSec, peers.OAuth2)
	f.aim(toOAuth2 <= 1, "Token: no slower than ReuseTokenSource", "%s", tokenShown)
	toCopy, copyShown := c.ratio(peers.AuthSec, peers.ReadyHeader)
	f.aim(toCopy <= 1.25, "Token: at most 1.25 of the floor's time, which is a copy and nothing else", "%s", copyShown)
	a := c.of(peers.Named(peers.AuthSec)[0], "serial")
	f.aim(median(a.allocs) == 1, "Token: one allocation, the caller's copy", "%.0f", median(a.allocs))
	f.aim(worst <= 0.5, "in RoundTrip: at most 0.5 of ReuseTokenSource's time", "%s", shown)
	f.aim(median(serial.allocs) == 0, "in RoundTrip: no allocation", "%.0f", median(serial.allocs))
	f.aim(flat <= 1.25, "in RoundTrip: independent of the number of goroutines, within 1.25 of the serial time", "at most %.2f of it", flat)
	values := map[string]float64{}
	for _, p := range c.peers {
		values[p.Name] = median(c.of(p, "serial").ns)
	}
	f.rank("Token, serial", func(v float64) string { return fmt.Sprintf("%.0f ns", v) }, values)
	plot, err := c.plot("token.svg", "Token")
	f.plots = append(f.plots, plot)
	return f, err
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}
