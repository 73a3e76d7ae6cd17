// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/authsec-go/authsec/fleet/internal/agent"
)

const (
	readyTime = time.Minute      // for agents to get ready
	endTime   = 20 * time.Second // for them to end
)

// herd is a group of agents with the same job, each in its own process. It is for one
// goroutine.
type herd struct {
	agents  []*process
	reports chan report
	cancel  context.CancelFunc // kills them
	running sync.WaitGroup     // their readers
}

// process is one agent, and what it has reported.
type process struct {
	pid      int
	in       io.WriteCloser
	ready    bool
	tokens   []token
	failures []time.Time
	failure  string // the last one's error
	end      *agent.End
	exited   bool
}

// token is a token that an agent got.
type token struct {
	at   time.Time
	hash string
}

// report is an agent's report, or says that the agent has exited.
type report struct {
	from *process
	agent.Report
	exited bool
	err    error // with exited: why it failed; nil: it did not
}

// newHerd starts n agents, and waits until all are ready.
func newHerd(ctx context.Context, n int, job agent.Job) (_ *herd, err error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	line, err := json.Marshal(job)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	h := &herd{reports: make(chan report), cancel: cancel}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	for range n {
		if err := h.add(ctx, program, append(line, '\n')); err != nil {
			return nil, err
		}
	}
	if err := h.listen(ctx, time.Now().Add(readyTime), func(p *process) bool { return p.ready }); err != nil {
		return nil, err
	}
	for _, p := range h.agents {
		if !p.ready {
			return nil, fmt.Errorf("agent %d was not ready within %v", p.pid, readyTime)
		}
	}
	return h, nil
}

// add starts one agent.
func (h *herd) add(ctx context.Context, program string, job []byte) error {
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = append(os.Environ(), agent.Env+"=1", "GOMAXPROCS=1")
	var complaint strings.Builder
	cmd.Stderr = &complaint
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := start(cmd); err != nil {
		return err
	}
	p := &process{pid: cmd.Process.Pid, in: in}
	h.agents = append(h.agents, p)
	h.running.Go(func() {
		send := func(r report) {
			r.from = p
			select {
			case h.reports <- r:
			case <-ctx.Done():
			}
		}
		for lines := json.NewDecoder(out); ; {
			var r agent.Report
			if err := lines.Decode(&r); err != nil {
				break
			}
			send(report{Report: r})
		}
		io.Copy(io.Discard, out) // after malformed JSON
		err := cmd.Wait()
		if err != nil {
			err = fmt.Errorf("agent %d: %w: %s", p.pid, err, strings.TrimSpace(complaint.String()))
		}
		send(report{exited: true, err: err})
	})
	_, err = in.Write(job)
	return err
}

// listen takes the agents' reports until done is true for all of them, or until the
// moment until. A nil done is never true. Its error is that of an agent that failed.
func (h *herd) listen(ctx context.Context, until time.Time, done func(*process) bool) error {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	left := map[*process]bool{}
	for _, p := range h.agents {
		if done == nil || !done(p) {
			left[p] = true
		}
	}
	for len(left) > 0 {
		select {
		case r := <-h.reports:
			if err := r.from.take(r); err != nil {
				return err
			}
			if done != nil && done(r.from) {
				delete(left, r.from)
			}
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (p *process) take(r report) error {
	switch {
	case r.exited:
		p.exited = true
		if r.err == nil && p.end == nil {
			r.err = fmt.Errorf("agent %d ended too early", p.pid)
		}
		return r.err
	case r.Ready:
		p.ready = true
	case r.Token != "":
		p.tokens = append(p.tokens, token{r.At, r.Token})
	case r.Failure != "":
		p.failures, p.failure = append(p.failures, r.At), r.Failure
	case r.End != nil:
		p.end = r.End
	}
	return nil
}

// order writes one line to all agents.
func (h *herd) order(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	for _, p := range h.agents {
		if _, err := p.in.Write(append(line, '\n')); err != nil {
			return err
		}
	}
	return nil
}

// end makes the agents end, and waits for it.
func (h *herd) end(ctx context.Context) error {
	if err := h.order("end"); err != nil {
		return err
	}
	if err := h.listen(ctx, time.Now().Add(endTime), func(p *process) bool { return p.exited }); err != nil {
		return err
	}
	for _, p := range h.agents {
		if !p.exited {
			return fmt.Errorf("agent %d did not end within %v", p.pid, endTime)
		}
	}
	return nil
}

// close kills the agents that still run, and waits for their end.
func (h *herd) close() {
	h.cancel()
	h.running.Wait()
	for _, p := range h.agents {
		p.in.Close()
	}
}
