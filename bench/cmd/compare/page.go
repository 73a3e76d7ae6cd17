// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// measured are the modules whose versions the page names.
var measured = []string{
	"golang.org/x/oauth2", "github.com/hashicorp/go-retryablehttp", "cloud.google.com/go/auth",
	"github.com/Azure/azure-sdk-for-go/sdk/azcore", "github.com/aws/aws-sdk-go-v2",
	"github.com/golang-jwt/jwt/v5", "github.com/auth0/go-jwt-middleware/v2",
}

// writePage writes benchmarks.md, its plots and the raw output into a directory.
func writePage(docs string, all []*findings, began time.Time, took time.Duration) error {
	if err := os.MkdirAll(docs, 0o755); err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, `# Measured against the peers

This page is written by a command that takes about %d minutes:

`+"```sh\ngo run -C bench ./cmd/compare\n```"+`

| | |
|---|---|
| date | %s |
| machine | %s, %d cores, %s memory |
| system | %s %s, %s |
`, int(took.Minutes()+1), began.UTC().Format("2006-01-02 15:04 UTC"), cpu(), runtime.NumCPU(), memory(), runtime.GOOS, kernel(), runtime.Version())
	for _, m := range modules() {
		fmt.Fprintf(&b, "| %s | %s |\n", m[0], m[1])
	}
	met, total := 0, 0
	var missed []string
	for _, f := range all {
		for _, a := range f.aims {
			if total++; a.met {
				met++
			} else {
				missed = append(missed, fmt.Sprintf("- %s: %s. Measured: %s.", f.title, a.want, a.got))
			}
		}
	}
	fmt.Fprintf(&b, "\nOf %d aims, %d were met in this run.", total, met)
	if len(missed) > 0 {
		fmt.Fprintf(&b, " Missed:\n\n%s\n", strings.Join(missed, "\n"))
	}
	b.WriteString("\nWhere a peer is faster or smaller than authsec in this run:\n\n")
	for _, f := range all {
		for _, lost := range f.lost {
			fmt.Fprintf(&b, "- %s\n", lost)
		}
	}
	b.WriteString("\nThe machine is small and noisy: trust the ratios in a table, not its nanoseconds. A range is the minimum and the maximum of the rounds. " +
		"What the Go benchmarks printed is in [benchmarks.txt](benchmarks.txt), for benchstat.\n")
	for _, f := range all {
		b.WriteString("\n" + f.markdown())
		for _, p := range f.plots {
			if err := os.WriteFile(filepath.Join(docs, p.name), p.svg, 0o644); err != nil {
				return err
			}
		}
	}
	if err := os.WriteFile(filepath.Join(docs, "benchmarks.txt"), raw.Bytes(), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(docs, "benchmarks.md"), []byte(b.String()), 0o644)
}

func modules() [][2]string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	var list [][2]string
	for _, d := range info.Deps {
		if slices.Contains(measured, d.Path) {
			list = append(list, [2]string{d.Path, d.Version})
		}
	}
	return list
}

// cpu, memory and kernel read Linux's files. Elsewhere they return "unknown".

func cpu() string { return procField("/proc/cpuinfo", "model name") }

func memory() string {
	var kib int64
	if _, err := fmt.Sscanf(procField("/proc/meminfo", "MemTotal"), "%d kB", &kib); err != nil {
		return "unknown"
	}
	return fmt.Sprintf("%d GiB", (kib+1<<19)>>20)
}

func kernel() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}

func procField(file, field string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	for line := range bytes.Lines(b) {
		if name, value, ok := strings.Cut(string(line), ":"); ok && strings.TrimSpace(name) == field {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
