// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package agent is one process of a fleet. It asks a token source for its token
// again and again, as a busy program does, and reports what it gets to the process
// that started it.
package agent

import (
	"bufio"
	"context"
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

// Env, if it is set, makes a program of this module run as an agent.
const Env = "AUTHSEC_FLEET_AGENT"

const (
	pause      = 50 * time.Millisecond // between two calls
	retryPause = time.Second           // after a failed call
)

// Job says what an agent does. It is the first line of its standard input. The second
// line is the moment to begin (a time.Time in JSON). At the third line it ends.
type Job struct {
	Peer    string        // one of Peers
	BaseURL string        // of the AuthSec server
	Early   time.Duration // how long before its expiry a token is renewed, if the peer has such an option
	Redis   string        // a Redis server's socket, for ByRedis
	Dir     string        // a directory, for ByDir
	Key     []byte        // encrypts the entries in Redis
	Limit   time.Duration // after this it ends in any case. Calls have a deadline then, and so wait out rate limits
}

// Report is one line of an agent's standard output.
type Report struct {
	Ready   bool      // it waits for the moment to begin; in the first report
	At      time.Time // when this happened:
	Token   string    // it has another token; the token's Hash
	Failure string    // a call failed; the error
	End     *End      // it ends; in the last report
}

// End is an agent's summary.
type End struct {
	Longest       time.Duration // the longest time without a token, its own retries included
	CacheFailures uint64        // uses of the cache that failed
	CacheError    string        // of the last of them
}

// Hash identifies a token without showing it.
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

var errOrphan = errors.New("the process that started it has ended")

// Run does the job that it reads from in. It returns at the third line, or with an
// error if in ends before that. A call of the source may still run then.
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
	ctx, cancel := context.WithTimeout(context.Background(), job.Limit)
	defer cancel()
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
	go a.work(ctx, begin)

	end := make(chan error, 1)
	go func() {
		var stop any
		end <- read(&stop)
	}()
	select {
	case err = <-end:
	case <-ctx.Done():
		err = fmt.Errorf("no order to end came within %v", job.Limit)
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
	wanted time.Time // since when it has no token; zero: it has one
	sum    End
}

// report writes a report, unless the last one was written.
func (a *agent) report(r Report) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.ended {
		a.out.Encode(r) // fails if the parent has ended; then in ends, too
	}
}

// work asks for the token until the process ends.
func (a *agent) work(ctx context.Context, begin time.Time) {
	last := ""
	for wanted := begin; ; wanted = time.Now() {
		a.want(wanted)
		token, err := a.token(ctx)
		now := time.Now()
		for ; err != nil; now = time.Now() {
			a.report(Report{At: now, Failure: err.Error()})
			time.Sleep(retryPause)
			a.want(wanted)
			token, err = a.token(ctx)
		}
		a.have(now)
		if token.AccessToken != last {
			last = token.AccessToken
			a.report(Report{At: now, Token: Hash(last)})
		}
		time.Sleep(pause)
	}
}

// token asks the source, with ctx if it takes one.
func (a *agent) token(ctx context.Context) (*oauth2.Token, error) {
	if src, ok := a.src.(*authsec.Source); ok {
		return src.TokenContext(ctx)
	}
	return a.src.Token()
}

// want notes that a call begins.
func (a *agent) want(since time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wanted = since
}

// have notes that a call got a token.
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
		cache := src.Stats().Cache
		if a.sum.CacheFailures = cache.Failures; cache.LastError != nil {
			a.sum.CacheError = cache.LastError.Error()
		}
	}
	a.ended = true
	a.out.Encode(Report{At: time.Now(), End: &a.sum})
}
