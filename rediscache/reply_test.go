// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package rediscache_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/rediscache"
	"github.com/authsec-go/authsec/rediscache/internal/redistest"
	"github.com/redis/go-redis/v9"
)

const bound = 4 << 20 // of an entry

// spent is how many bytes f allocates. Tests that use it do not run in parallel.
func spent(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// answers is a server that sends answer to each command of a Cache, and OK to the
// client's own. It then closes the connection, if hangUp is set. It counts the first.
func answers(t *testing.T, answer string, hangUp bool) (addr string, asked *atomic.Int64) {
	t.Helper()
	asked = new(atomic.Int64)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				for in := bufio.NewReader(conn); ; {
					switch name := command(in); {
					case name == "":
						return
					case name == "get" || name == "set" || name == "eval":
						asked.Add(1)
						io.WriteString(conn, answer)
						if hangUp {
							return
						}
					case name == "hello":
						io.WriteString(conn, "-ERR unknown command\r\n")
					default:
						io.WriteString(conn, "+OK\r\n")
					}
				}
			})
		}
	})
	t.Cleanup(func() { ln.Close(); serving.Wait() })
	return ln.Addr().String(), asked
}

// command reads a command, and returns its name; "" at the end.
func command(in *bufio.Reader) (name string) {
	number := func() int {
		line, err := in.ReadString('\n')
		n, numErr := strconv.Atoi(strings.Trim(line, "*$\r\n"))
		if err != nil || numErr != nil {
			return -1
		}
		return n
	}
	for i := range number() {
		word := make([]byte, max(0, number())+2)
		if _, err := io.ReadFull(in, word); err != nil {
			return ""
		}
		if i == 0 {
			name = strings.ToLower(string(word[:len(word)-2]))
		}
	}
	return name
}

// TestAnEntryOverTheBoundIsAMiss: the entry is not read, whatever its size, and the
// client works as before.
func TestAnEntryOverTheBoundIsAMiss(t *testing.T) {
	srv := redistest.Start(t)
	client := connect(t, srv.Addr, func(o *redis.Options) { o.PoolSize = 1 })
	c, name := newCache(t, client), "authsec:{"+key+"}:entry"
	mustPut(t, c, key, strings.Repeat("x", bound), time.Minute)
	mustGet(t, c, key, strings.Repeat("x", bound))
	if err := c.Put(t.Context(), key, make([]byte, bound+1), time.Minute); err == nil {
		t.Error("Put took more than Get returns")
	}
	for _, size := range []int{bound + 1, 500 << 20} {
		srv.CLI("del", name)
		srv.CLI("setrange", name, strconv.Itoa(size-1), "x")
		if n := spent(func() { mustMiss(t, c, key) }); n > bound {
			t.Errorf("an entry of %d bytes: Get allocated %d, want at most %d", size, n, bound)
		}
		if got, err := client.StrLen(t.Context(), name).Result(); err != nil || got != int64(size) {
			t.Errorf("after that: the client got %d, %v, want the entry's %d bytes", got, err, size)
		}
	}
	if got, err := client.GetRange(t.Context(), name, 0, bound).Result(); err != nil || len(got) != bound+1 {
		t.Errorf("another use of the client read %d bytes, %v, want %d", len(got), err, bound+1)
	}
	mustPut(t, c, key, "new", time.Minute)
	mustGet(t, c, key, "new")
}

// TestAnswersThatAnnounceTooMuch: a server announces what it never sends.
func TestAnswersThatAnnounceTooMuch(t *testing.T) {
	const miss = "cache miss"
	for answer, want := range map[string]string{
		"$4398046511104\r\n":           miss, // 4 TiB
		"$4398046511104\r\nabc":        miss,
		"$9223372036854775807\r\n":     miss,
		"$99999999999999999999999\r\n": miss,
		"$4194305\r\n":                 miss,
		"$-1\r\n":                      miss,
		"_\r\n":                        miss,
		"$-7\r\n":                      "malformed length",
		"$\r\n":                        "malformed length",
		"!4398046511104\r\n":           "not a string",
		"=4398046511104\r\n":           "not a string",
		"*4398046511104\r\n":           "not a string",
		"%4398046511104\r\n":           "not a string",
		"|1\r\n$4398046511104\r\n":     "i/o timeout", // go-redis skips attributes
		"+OK\r\n":                      "not a string",
		":1\r\n":                       "not a string",
		"-ERR it broke\r\n":            "rediscache: getting an entry: ERR it broke",
	} {
		addr, asked := answers(t, answer, false)
		c := newCache(t, connect(t, addr))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		var got []byte
		var err error
		n := spent(func() { got, err = c.Get(ctx, key) })
		if err == nil || got != nil || !strings.Contains(err.Error(), want) || errors.Is(err, authsec.ErrCacheMiss) != (want == miss) {
			t.Errorf("%.40q: Get = %d bytes, %v, want an error with %q", answer, len(got), err, want)
		}
		if n > bound || asked.Load() != 1 {
			t.Errorf("%.40q: Get asked %d times and allocated %d bytes, want once and at most %d", answer, asked.Load(), n, bound)
		}
		cancel()
	}
}

// TestOtherAnswersThatAnnounceTooMuch: no other use of a Cache has a long answer.
func TestOtherAnswersThatAnnounceTooMuch(t *testing.T) {
	const bad = "the answer is not OK, nor an integer"
	for answer, c := range map[string]struct {
		want  string
		asked int64
	}{
		"$4398046511104\r\n":             {bad, 1}, // 4 TiB
		"$4398046511104\r\nabc":          {bad, 1},
		"!4398046511104\r\n":             {bad, 1},
		"=4398046511104\r\n":             {bad, 1},
		"*4398046511104\r\n":             {bad, 1},
		"%4398046511104\r\n":             {bad, 1},
		"+QUEUED\r\n":                    {bad, 1},
		"_\r\n":                          {"redis: nil", 1},
		"-ERR it broke\r\n":              {"ERR it broke", 1},
		"-READONLY It is a replica.\r\n": {"READONLY It is a replica.", 4}, // another server may be the master
	} {
		for name, use := range map[string]func(ctx context.Context, c *rediscache.Cache) error{
			"storing an entry":  func(ctx context.Context, c *rediscache.Cache) error { return c.Put(ctx, key, []byte("x"), time.Minute) },
			"deleting an entry": func(ctx context.Context, c *rediscache.Cache) error { return c.Delete(ctx, key) },
			"taking a lease": func(ctx context.Context, c *rediscache.Cache) error {
				_, err := c.Lease(ctx, key, time.Minute)
				return err
			},
		} {
			addr, asked := answers(t, answer, false)
			cache := newCache(t, connect(t, addr))
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			var err error
			n := spent(func() { err = use(ctx, cache) })
			if err == nil || err.Error() != "rediscache: "+name+": "+c.want {
				t.Errorf("%s, %.40q: got error %v, want %q", name, answer, err, c.want)
			}
			if n > bound || asked.Load() != c.asked {
				t.Errorf("%s, %.40q: asked %d times and allocated %d bytes, want %d times and at most %d", name, answer, asked.Load(), n, c.asked, bound)
			}
			cancel()
		}
	}
}

func TestGetReturnsNoPartOfAnEntry(t *testing.T) {
	for _, answer := range []string{"$4194304\r\nabc", "$3\r\nabc", "$3\r\nab", "$", ""} {
		addr, _ := answers(t, answer, true)
		c := newCache(t, connect(t, addr))
		if got, err := c.Get(t.Context(), key); err == nil || errors.Is(err, authsec.ErrCacheMiss) || len(got) > 0 {
			t.Errorf("%.40q, cut off: Get = %q, %v, want an error", answer, got, err)
		}
	}
}

// TestGetKeepsItsConnection: a miss, and an error that Redis answers, cost none.
func TestGetKeepsItsConnection(t *testing.T) {
	client := connect(t, redistest.Start(t).Addr)
	c := newCache(t, client)
	if err := client.LPush(t.Context(), "authsec:{"+other+"}:entry", "item").Err(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		mustMiss(t, c, key)
		if _, err := c.Get(t.Context(), other); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
			t.Errorf("Get of a list: got error %v, want WRONGTYPE", err)
		}
	}
	if got := client.PoolStats().Misses; got != 1 {
		t.Errorf("%d connections were made, want 1", got)
	}
}

// swallow is a hook that hides errors.
type swallow struct{}

func (swallow) DialHook(next redis.DialHook) redis.DialHook { return next }

func (swallow) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (swallow) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		next(ctx, cmd)
		return nil
	}
}

func TestAnErrorThatAHookHidesIsNoEntry(t *testing.T) {
	for _, answer := range []string{"", "$3\r\nab"} {
		addr, _ := answers(t, answer, true)
		client := connect(t, addr)
		client.AddHook(swallow{})
		if got, err := newCache(t, client).Get(t.Context(), key); err == nil || errors.Is(err, authsec.ErrCacheMiss) {
			t.Errorf("%q: Get = %q, %v, want an error", answer, got, err)
		}
	}
}

// TestGetOutlivesABrokenConnection: go-redis does not send this command again, so
// Get does.
func TestGetOutlivesABrokenConnection(t *testing.T) {
	srv := redistest.Start(t)
	r := newRelay(t, srv.Addr)
	c := newCache(t, connect(t, r.addr))
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
	mustPut(t, c, key, string(data), time.Minute)
	r.set(func() { r.mute = 1 })
	if got, err := c.Get(t.Context(), key); err != nil || !bytes.Equal(got, data) {
		t.Errorf("Get = %d bytes, %v, want the %d that were put", len(got), err, len(data))
	}
	r.set(func() {
		if r.mute != 0 {
			t.Error("no answer was lost")
		}
	})
}
