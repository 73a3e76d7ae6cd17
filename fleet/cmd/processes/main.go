// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Command processes measures a fleet of real processes that all ask for the same
// agent's token at once, with and without a shared cache:
//
//	go run -C fleet ./cmd/processes           # prints, and writes its section of docs/fleet.md
//	go run -C fleet ./cmd/processes -quick    # a small fleet and a short limit, under 40 s
//
// The AuthSec server is a test server on loopback, with the real servers' limit. Redis
// is a real one: redis-server must be on PATH. The command fails if an aim is missed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"time"

	"github.com/authsec-go/authsec/fleet/internal/agent"
	"golang.org/x/sync/errgroup"
)

// With both, authsec needs no cache: if renewals begin at random moments in two and a
// half windows, less than 1 of 300 windows exceeds its limit.
var (
	full  = scale{agents: 200, limit: 100, window: time.Minute, life: 20 * time.Second, renewals: 2}
	quick = scale{agents: 20, limit: 15, window: 5 * time.Second, life: 8 * time.Second, renewals: 1, together: true}
)

// allTime is how long the command may take at most.
const allTime = 8 * time.Minute

func main() {
	if os.Getenv(agent.Env) != "" {
		agent.Main()
	}
	n := flag.Int("n", 0, "how many `processes` a fleet has (default 200, with -quick 20, and no more)")
	only := flag.String("only", "", "measure only the peers whose names this regular `expression` matches")
	isQuick := flag.Bool("quick", false, "check that everything works, in under 40 s")
	page := flag.String("page", "", "the `file` whose section is written (default ../docs/fleet.md, but with -n, -only and -quick none)")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "processes: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	size := full
	if *isQuick {
		size = quick
	}
	if *page == "" && *n == 0 && *only == "" && !*isQuick {
		*page = "../docs/fleet.md"
	}
	if *n < 0 || *n > size.agents {
		fmt.Fprintf(os.Stderr, "processes: -n %d is not from 1 to %d: with more processes than twice the server's limit, a start takes more than two of its windows\n", *n, size.agents)
		os.Exit(2)
	}
	if *n > 0 {
		size.agents = *n
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	ctx, cancel := context.WithTimeout(ctx, allTime)
	err := run(ctx, size, *only, *page)
	cancel()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "processes:", err)
		os.Exit(1)
	}
}

// run measures the peers that only matches, prints the results, and writes them to
// page unless that is "".
func run(ctx context.Context, size scale, only, page string) error {
	pattern, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	contests := slices.DeleteFunc(size.contests(), func(c contest) bool { return !pattern.MatchString(c.peer) })
	began := time.Now()
	outcomes, err := size.measureAll(ctx, contests)
	if err != nil {
		return err
	}
	text := section(outcomes, began, time.Since(began))
	fmt.Println(text)
	if page != "" {
		if err := writeInto(page, text); err != nil {
			return err
		}
	}
	var missed []error
	for _, o := range outcomes {
		for _, a := range o.aims() {
			if !a.met {
				missed = append(missed, fmt.Errorf("%s: want %s, got %s", o.peer, a.want, a.got))
			}
		}
	}
	return errors.Join(missed...)
}

// measureAll measures the peers that share a cache one after the other, and then all
// others at once. Those wait for their server, of which each has its own, and hardly
// use the machine.
func (s scale) measureAll(ctx context.Context, contests []contest) ([]*outcome, error) {
	outcomes := make([]*outcome, len(contests))
	all, ctx := errgroup.WithContext(ctx)
	for i, c := range contests {
		measure := func() (err error) {
			fmt.Fprintf(os.Stderr, "%s ...\n", c.peer)
			if outcomes[i], err = s.measure(ctx, c); err != nil {
				return fmt.Errorf("%s: %w", c.peer, err)
			}
			return nil
		}
		if s.together || !c.shares {
			all.Go(measure)
		} else if err := measure(); err != nil {
			return nil, err
		}
	}
	return outcomes, all.Wait()
}
