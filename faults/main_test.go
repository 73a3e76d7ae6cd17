// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	zerologlog "github.com/rs/zerolog/log"
)

const (
	// schedulingAllowance is how late something may happen on a busy machine under the
	// race detector.
	schedulingAllowance = 5 * time.Second

	// settleTime is how long the end of something in the background may take.
	settleTime = 15 * time.Second

	// maxAttempts is how often a request is sent at most: RetryPolicy's default, and
	// once more after a 401.
	maxAttempts = 4 + 1

	// maxBuffered is the longest body that can be sent again without GetBody:
	// Transport.BufferBodies' default.
	maxBuffered = 64 * KiB

	// parallel is how many tests run at once. Most of them wait.
	parallel = "8"

	KiB = 1 << 10
	MiB = 1 << 20
)

func TestMain(m *testing.M) {
	zerologlog.Logger = zerolog.Nop() // toxiproxy's toxics log to it
	flag.Parse()
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		code = 1
	}
	os.Exit(code)
}

func runTests(m *testing.M) (code int, err error) {
	if scratch, err = os.MkdirTemp("", "authsec-faults-"); err != nil {
		return 1, err
	}
	defer os.RemoveAll(scratch)
	if err := errors.Join(flag.Set("test.parallel", parallel), trustIdentity()); err != nil {
		return 1, err
	}
	before := goroutines()
	code = m.Run()
	if left := waitForGoroutines(len(before)); code == 0 && left != "" {
		return 1, errors.New("after all tests, " + left)
	}
	return code, nil
}

// scratch is a directory that TestMain removes.
var scratch string

// certFile is the variable that names the file of the system's roots. macOS and
// Windows do not read it.
const certFile = "SSL_CERT_FILE"

// trustIdentity makes this process and its children trust the servers' certificate
// as one of the system's, so that transports with default settings reach them.
func trustIdentity() error {
	file := filepath.Join(scratch, "roots.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: identity().certificate.Certificate[0]})
	return errors.Join(os.WriteFile(file, text, 0o600), os.Setenv(certFile, file))
}

// eventually reports whether a condition becomes true within settleTime.
func eventually(condition func() bool) bool {
	for deadline := time.Now().Add(settleTime); ; time.Sleep(5 * time.Millisecond) {
		if condition() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

// wait waits for d. It returns false if ended is closed before.
func wait(ended <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ended:
		return false
	}
}

// heap returns the bytes in use after a garbage collection. Objects with finalizers
// need two.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// goroutines returns the stacks of all goroutines, except those that toxiproxy leaves
// behind and those of the testing package.
func goroutines() []string {
	buf := make([]byte, 64*KiB)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	var stacks []string
	for stack := range strings.SplitSeq(string(buf), "\n\n") {
		if !strings.Contains(stack, "github.com/Shopify/toxiproxy") && !strings.Contains(stack, "testing.tRunner") {
			stacks = append(stacks, stack)
		}
	}
	return stacks
}

// waitForGoroutines waits until at most limit goroutines run. If they do not end, it
// returns a message.
func waitForGoroutines(limit int) string {
	var left []string
	if eventually(func() bool { left = goroutines(); return len(left) <= limit }) {
		return ""
	}
	return fmt.Sprintf("%d goroutines run, want at most %d:\n%s", len(left), limit, strings.Join(left, "\n\n"))
}
