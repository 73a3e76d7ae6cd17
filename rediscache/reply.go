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
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	maxEntry = 4 << 20 // bytes; the bound of [authsec.Cache]

	attempts     = 4
	attemptPause = 4 * time.Millisecond // doubles before each attempt
)

// badAnswer is a wrong answer that another attempt would get again.
type badAnswer string

func (e badAnswer) Error() string { return string(e) }

var errTooLong = badAnswer(fmt.Sprintf("the entry has more than %d bytes", maxEntry))

// reply takes Redis's answer to a command as it arrives. The usual commands of go-redis
// allocate what the answer's first line announces, which may be any number. reply
// reads that line first, and its error ends the answer. go-redis then closes the
// connection, unless the answer was an error of Redis.
type reply struct {
	short bool         // the answer is OK or an integer, and no entry
	line  string       // the first line; "": it is not complete
	size  int          // of the entry
	buf   bytes.Buffer // what has arrived after the first line, or the part of it that has
}

var crlf = []byte("\r\n")

func (r *reply) Write(p []byte) (int, error) {
	r.buf.Write(p)
	if r.line != "" {
		return len(p), nil
	}
	line, _, found := bytes.Cut(r.buf.Bytes(), crlf)
	if !found {
		return len(p), nil
	}
	size, err := announced(string(line), r.short)
	if err != nil {
		*r = reply{short: r.short} // another node's answer follows a redirect
		return 0, err
	}
	r.line, r.size = string(line), size
	r.buf.Next(len(line) + len(crlf))
	return len(p), nil
}

// announced returns the length that an answer's first line announces.
func announced(line string, short bool) (int, error) {
	switch {
	case line == "$-1" || line == "_":
		return 0, redis.Nil
	case strings.HasPrefix(line, "-"):
		return 0, redisError(line[1:])
	case short && (line == "+OK" || strings.HasPrefix(line, ":")):
		return 0, nil
	case short:
		return 0, badAnswer("the answer is not OK, nor an integer")
	case !strings.HasPrefix(line, "$"):
		return 0, badAnswer("the answer is not a string")
	}
	n, err := strconv.ParseUint(line[1:], 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange) || n > maxEntry:
		return 0, errTooLong
	case err != nil:
		return 0, badAnswer("the answer has a malformed length")
	}
	return int(n), nil
}

// complete says whether the whole answer has arrived.
func (r *reply) complete() error {
	if r.line == "" || !r.short && r.buf.Len() != r.size+len(crlf) {
		return errors.New("the answer is incomplete")
	}
	return nil
}

// redisError is an error that Redis answered, such as a redirect. go-redis knows it
// by the method and by the text.
type redisError string

func (e redisError) Error() string { return string(e) }
func (redisError) RedisError()     {}

// broken reports whether err says that there is no connection, that it broke before
// the answer was complete, or that it leads to a server that has become a replica.
func broken(ctx context.Context, err error) bool {
	var answer redis.Error
	var bad badAnswer
	var failure net.Error
	switch {
	case err == nil || ctx.Err() != nil || errors.As(err, &bad):
		return false
	case errors.As(err, &answer):
		return redis.IsReadOnlyError(err)
	}
	return !(errors.As(err, &failure) && failure.Timeout())
}

// pause waits, and reports whether ctx has not ended by then.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
