// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package rediscache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	maxEntry = 4 << 20 // bytes; the bound of [authsec.Cache]

	// go-redis does not repeat the command that Get uses. Get does, as go-redis repeats
	// others by default.
	getAttempts = 4
	getPause    = 4 * time.Millisecond // doubles before each attempt
)

var errTooLong = fmt.Errorf("the entry has more than %d bytes", maxEntry)

// reply takes Redis's answer to GET as it arrives. The usual commands of go-redis
// allocate what the answer's first line announces, which may be any number. reply
// reads that line first, and its error ends the answer. go-redis then closes the
// connection, unless the answer was an error of Redis.
type reply struct {
	buf  bytes.Buffer // what has arrived after the first line, or the part of it that has
	size int          // of the entry
	body bool         // the first line is complete
}

var crlf = []byte("\r\n")

func (r *reply) Write(p []byte) (int, error) {
	r.buf.Write(p)
	if r.body {
		return len(p), nil
	}
	line, _, found := bytes.Cut(r.buf.Bytes(), crlf)
	if !found {
		return len(p), nil
	}
	var err error
	if r.size, err = announced(string(line)); err != nil {
		*r = reply{} // another node's answer follows a redirect
		return 0, err
	}
	r.buf.Next(len(line) + len(crlf))
	r.body = true
	return len(p), nil
}

// announced returns the length that an answer's first line announces.
func announced(line string) (int, error) {
	switch {
	case line == "$-1" || line == "_":
		return 0, redis.Nil
	case line != "" && line[0] == '-':
		return 0, redisError(line[1:])
	case line == "" || line[0] != '$':
		return 0, errors.New("the answer is not a string")
	}
	n, err := strconv.ParseUint(line[1:], 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange) || n > maxEntry:
		return 0, errTooLong
	case err != nil:
		return 0, errors.New("the answer has a malformed length")
	}
	return int(n), nil
}

// entry returns the entry, if it has arrived.
func (r *reply) entry() ([]byte, error) {
	if !r.body || r.buf.Len() != r.size+len(crlf) {
		return nil, errors.New("the answer is incomplete")
	}
	return r.buf.Bytes()[:r.size:r.size], nil
}

// redisError is an error that Redis answered, such as a redirect. go-redis knows it
// by the method and by the text.
type redisError string

func (e redisError) Error() string { return string(e) }
func (redisError) RedisError()     {}

// broken reports whether err says that there is no connection, or that it broke
// before the answer was complete.
func broken(ctx context.Context, err error) bool {
	var answer redis.Error
	var failure net.Error
	return err != nil && !errors.Is(err, errTooLong) && ctx.Err() == nil && !errors.As(err, &answer) &&
		!(errors.As(err, &failure) && failure.Timeout())
}

// pause waits, and reports whether ctx is still good after that.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
