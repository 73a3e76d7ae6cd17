// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package agent is one process of a fleet. It asks a token source for its token
// again and again, as a program does that has much to send, and tells the process
// that started it what it gets.
package agent

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/authsec-go/authsec"
	"golang.org/x/oauth2"
)

// Env, set to anything, has a program of this module run as an agent.
const Env = "AUTHSEC_FLEET_AGENT"

const (
	pause      = 50 * time.Millisecond // between two calls
	retryPause = time.Second           // after one that failed
)

// Job is what an agent is to do: the first line of its standard input. The moment
// to begin (JSON of a time.Time) is the second; when a third comes it ends.
type Job struct {
	Peer    string        // one of Peers
	BaseURL string        // of the AuthSec server
	Early   time.Duration // before its expiry a token is to be renewed, where the peer can be told
	Redis   string        // the socket of a Redis server, for the peer that wants it
	Dir     string        // a directory, for the peer that wants it
	Key     []byte        // seals what is shared through Redis
	Limit   time.Duration // after which it ends in any case
}

// Report is a line of an agent's standard output.
type Report struct {
	Ready   bool      // it waits for the moment to begin; set in the first report
	At      time.Time // of what follows
	Token   string    // Hash of the token that it has from now on
	Failure string    // why a call failed
	End     *End      // set in the last report
}

// End is an agent's account of itself.
type End struct {
	Longest       time.Duration // for which it wanted a token and had none, its own retries included
	CacheFailures uint64        // uses of the cache that failed
	CacheError    string        // the last of them
}

// Hash tells tokens apart, and tells nothing else of them.
func Hash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:8])
}

// Main is the main function of an agent's process.
func Main() {
	if err := Run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

var errOrphan = errors.New("the process that started it is gone")

// Run does the job that is read from in. It returns when it is told to, with an
// error when in ends before that, and may leave a call of the source behind.
func Run(in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	read := func(v any) error {
		if !lines.Scan() {
			return errors.Join(errOrphan, lines.Err())
		}
		return json.Unmarshal(lines.Bytes(), v)
	}
	var job Job
	if err := read(&job); err != nil {
		return err
	}
	limit := time.After(job.Limit)
	src, err := newSource(job)
	if err != nil {
		return err
	}
	a := &agent{src: src, out: json.NewEncoder(out)}
	a.report(Report{Ready: true})
	var begin time.Time
	if err := read(&begin); err != nil {
		return err
	}
	time.Sleep(time.Until(begin))
	go a.work(begin)

	told := make(chan error, 1)
	go func() {
		var stop any
		told <- read(&stop)
	}()
	select {
	case err = <-told:
	case <-limit:
		err = fmt.Errorf("it was not told to end within %v", job.Limit)
	}
	if err != nil {
		return err
	}
	a.end()
	return nil
}

type agent struct {
	src oauth2.TokenSource

	mu     sync.Mutex // guards what follows
	out    *json.Encoder
	ended  bool
	wanted time.Time // since when it has wanted a token that it has not; zero: it has one
	sum    End
}

// report writes a report, unless the last has been written.
func (a *agent) report(r Report) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.ended {
		a.out.Encode(r) // fails if nobody reads any more, and then in has ended, too
	}
}

// work asks for the token until the process ends.
func (a *agent) work(begin time.Time) {
	last := ""
	for wanted := begin; ; wanted = time.Now() {
		a.want(wanted)
		token, err := a.src.Token()
		now := time.Now()
		for ; err != nil; now = time.Now() {
			a.report(Report{At: now, Failure: err.Error()})
			time.Sleep(retryPause)
			a.want(wanted)
			token, err = a.src.Token()
		}
		a.have(now)
		if token.AccessToken != last {
			last = token.AccessToken
			a.report(Report{At: now, Token: Hash(last)})
		}
		time.Sleep(pause)
	}
}

// want takes account of a call.
func (a *agent) want(since time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wanted = since
}

// have takes account of a token.
func (a *agent) have(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sum.Longest = max(a.sum.Longest, now.Sub(a.wanted))
	a.wanted = time.Time{}
}

// end writes the last report.
func (a *agent) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.wanted.IsZero() {
		a.sum.Longest = max(a.sum.Longest, time.Since(a.wanted))
	}
	if src, ok := a.src.(*authsec.Source); ok {
		stats := src.Stats()
		if a.sum.CacheFailures = stats.CacheFailures; stats.LastCacheError != nil {
			a.sum.CacheError = stats.LastCacheError.Error()
		}
	}
	a.ended = true
	a.out.Encode(Report{At: time.Now(), End: &a.sum})
}
