// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Command compare measures authsec and packages that do a similar job, with the same
// work and in the same run, and writes the results:
//
//	go run -C bench ./cmd/compare           # prints, and writes docs/benchmarks.md with its plots
//	go run -C bench ./cmd/compare -quick    # checks that it works, in a few seconds; its numbers mean nothing
//
// All servers are real and on loopback. For the benchmarks, the throughput and the cold
// start, the peers take turns, so that a slow moment of the machine affects all of them.
// Ratios are computed within a turn. Everything else runs one peer after the other. The
// command fails if an aim is missed that does not depend on the machine's speed.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
)

// scale is how long the measurements take.
type scale struct {
	microRounds   int
	microTime     time.Duration
	loadRounds    int
	loadTime      time.Duration
	renewalTime   time.Duration
	renewalLife   time.Duration // of its tokens
	outageLife    time.Duration // of the token in service when the endpoint goes down
	spreadLife    time.Duration // of a delegation, over which requests are spread
	coldRounds    int
	uploads       []int64 // bytes
	sourceCounts  []int
	failingOfMany int // requests to an API of which 5 % fail
}

var (
	full = scale{
		microRounds: 7, microTime: 60 * time.Millisecond,
		loadRounds: 12, loadTime: time.Second,
		renewalTime: 30 * time.Second, renewalLife: 5 * time.Second,
		outageLife: 12 * time.Second,
		spreadLife: 5 * time.Minute,
		coldRounds: 25,
		uploads:    []int64{1 << 10, 1 << 20, 64 << 20, 1 << 30}, sourceCounts: []int{1, 10, 1000},
		failingOfMany: 1000,
	}
	quick = scale{
		microRounds: 1, microTime: time.Millisecond,
		loadRounds: 1, loadTime: 50 * time.Millisecond,
		renewalTime: 5 * time.Second, renewalLife: 3 * time.Second,
		outageLife: 4 * time.Second,
		spreadLife: 15 * time.Second,
		coldRounds: 2,
		uploads:    []int64{1 << 10, 1 << 20}, sourceCounts: []int{1, 10},
		failingOfMany: 100,
	}
)

// section is one measurement.
type section struct {
	name    string // for -only
	measure func(scale) (*findings, error)
}

var sections = []section{
	{"roundtrip", measureRoundTrip},
	{"posts", measurePosts},
	{"token", measureToken},
	{"verify", measureVerify},
	{"throughput", measureThroughput},
	{"sidecar", measureSidecar},
	{"renewal", measureRenewal},
	{"storm", measureStorm},
	{"outage", measureOutage},
	{"delegation", measureBurst},
	{"failing", measureFailingAPI},
	{"uploads", measureUploads},
	{"coldstart", measureColdStart},
	{"sources", measureSources},
}

func main() {
	for env, child := range map[string]func() error{childEnv: uploadChild, proxyEnv: proxyChild} {
		if os.Getenv(env) == "" {
			continue
		}
		if err := child(); err != nil {
			fmt.Fprintln(os.Stderr, "compare:", err)
			os.Exit(1)
		}
		return
	}
	docs := flag.String("docs", "", "the `directory` for benchmarks.md and its plots (default ../docs, but with -only and -quick none)")
	only := flag.String("only", "", "run only the measurements whose names this regular `expression` matches")
	isQuick := flag.Bool("quick", false, "check that everything works, in a few seconds")
	flag.Parse()
	if *docs == "" && *only == "" && !*isQuick {
		*docs = "../docs"
	}
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "compare: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	if err := run(*docs, *only, *isQuick); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func run(docs, only string, isQuick bool) error {
	pattern, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	size := full
	if isQuick {
		size = quick
	}
	plot.DefaultFont.Variant, plotter.DefaultFont.Variant = "Sans", "Sans"
	began := time.Now()

	// This one takes as long as a delegation lives, and hardly uses the machine.
	var spread *findings
	var beside errgroup.Group
	if pattern.MatchString("delegation") {
		beside.Go(func() (err error) {
			spread, err = measureSpread(size)
			return err
		})
	}

	var all []*findings
	for _, s := range sections {
		if !pattern.MatchString(s.name) {
			continue
		}
		f, err := s.measure(size)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		fmt.Println(f.markdown())
		all = append(all, f)
	}
	if err := beside.Wait(); err != nil {
		return fmt.Errorf("delegation: %w", err)
	}
	if spread != nil {
		fmt.Println(spread.markdown())
		burst := slices.IndexFunc(all, func(f *findings) bool { return f.title == burstTitle })
		all = slices.Insert(all, burst+1, spread)
	}
	took := time.Since(began)
	fmt.Printf("took %v\n", took.Round(time.Second))
	if docs != "" {
		if err := writePage(docs, all, began, took); err != nil {
			return err
		}
	}
	for _, f := range all {
		for _, a := range f.aims {
			if a.sure && !a.met {
				err = errors.Join(err, fmt.Errorf("%s: want %s, got %s", f.title, a.want, a.got))
			}
		}
	}
	return err
}

// moduleDir returns the directory of this nested module.
func moduleDir() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	dir := filepath.Dir(strings.TrimSpace(string(out)))
	if filepath.Base(dir) != "bench" {
		return "", fmt.Errorf("not in the bench module: run it as go run -C bench ./cmd/compare")
	}
	return dir, nil
}
