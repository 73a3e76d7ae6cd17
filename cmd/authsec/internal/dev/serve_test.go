// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package dev

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec/authsectest"
)

// pipes is a listener for connections in memory.
type pipes struct {
	conns chan net.Conn
	done  chan bool
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	select {
	case <-p.done:
	default:
		close(p.done)
	}
	return nil
}

func (*pipes) Addr() net.Addr { return &net.TCPAddr{} }

// TestInterruptEndsRequestsThatWait interrupts while an answer is delayed by minutes.
func TestInterruptEndsRequestsThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "--latency", "10m")
		ln := &pipes{make(chan net.Conn), make(chan bool)}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended, answer := make(chan error, 1), make(chan string, 1)
		go func() { ended <- serve(ctx, site{ln, b.authsec}) }()
		client, conn := net.Pipe()
		ln.conns <- conn
		go func() {
			io.WriteString(client, "GET "+authsectest.EndpointPath+" HTTP/1.1\r\nHost: authsec.test\r\n\r\n")
			text, _ := io.ReadAll(client)
			answer <- string(text)
		}()
		time.Sleep(time.Minute)
		began := time.Now()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("interrupted: %v", err)
		}
		if took := time.Since(began); took >= shutdownTime {
			t.Errorf("it took %v, want less than %v", took, shutdownTime)
		}
		if got := <-answer; strings.Contains(got, "token") {
			t.Error("it was answered")
		}
		if got := b.log.last(); !strings.HasSuffix(got, "no answer: the client gave up, or the command ended") {
			t.Errorf("logged %q", got)
		}
	})
}

// TestThePagesCurlLines does what docs/dev.md says.
func TestThePagesCurlLines(t *testing.T) {
	page, err := os.ReadFile("../../../../docs/dev.md")
	if err != nil {
		t.Fatal(err)
	}
	agent, curls := startingWith(string(page), "export AGENT="), startingWith(string(page), "curl ")
	if len(agent) != 1 || len(curls) != 4 {
		t.Fatalf("got %q, %q, want AGENT and 4 lines with curl", agent, curls)
	}
	stdout, _, _ := execute(t)
	vars := environment(t, stdout.String())
	for i, want := range []string{`"ttl_seconds":3600`, `"ttl_seconds":3600`, `"status":"revoked"`, `"ttl_seconds":10`} {
		shell := exec.Command("sh", "-c", agent[0]+"\n"+curls[i])
		shell.Env = os.Environ()
		for name, value := range vars {
			shell.Env = append(shell.Env, name+"="+value)
		}
		out, err := shell.Output()
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 127 {
			t.Skip("no curl")
		}
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: got %v, no %s in the answer", curls[i], err, want)
		}
	}
}
