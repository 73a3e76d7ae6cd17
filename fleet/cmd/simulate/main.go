// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Command simulate simulates the requests that fleets of 10 to 1,000,000 processes of
// one agent send to their AuthSec server, in virtual time, and writes the results:
//
//	go run -C fleet ./cmd/simulate           # writes docs/fleet.md and its plots
//	go run -C fleet ./cmd/simulate -quick    # checks that it works, in a few seconds; writes no file
//
// It keeps the section of the page that cmd/processes writes.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
)

func main() {
	docs := flag.String("docs", "", "the `directory` for fleet.md and its plots (default ../docs, but with -quick none)")
	quick := flag.Bool("quick", false, "check that everything works, in a few seconds")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "simulate: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	if *docs == "" && !*quick {
		*docs = "../docs"
	}
	if err := run(*docs, *quick); err != nil {
		fmt.Fprintln(os.Stderr, "simulate:", err)
		os.Exit(1)
	}
}

func run(docs string, quick bool) error {
	plot.DefaultFont.Variant, plotter.DefaultFont.Variant = "Sans", "Sans"
	began := time.Now()
	sizes := []int{10, 100, 1000, 10_000, 100_000, 1_000_000}
	if quick {
		sizes = sizes[:4]
	}
	f := play(sizes, quick)
	if !quick {
		var err error
		if f.figures, err = playFigures(); err != nil {
			return err
		}
	}
	text, err := f.page()
	if err != nil {
		return err
	}
	fmt.Println(text)
	plots, err := f.plots()
	if err != nil {
		return err
	}
	fmt.Printf("took %v\n", time.Since(began).Round(time.Second))
	if docs == "" {
		return nil
	}
	return write(docs, text, plots)
}
