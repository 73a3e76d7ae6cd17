// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

var errNoRedis = errors.New("redis-server is not on PATH: install it (Debian: redis-server), or measure only the others with -only")

// redisStart is how long a Redis server may take to start.
const redisStart = 10 * time.Second

// redisServer is a Redis server without persistence.
type redisServer struct {
	socket string
	pid    int
	dir    string
	kill   context.CancelFunc
	exited chan struct{} // closed when the process has ended
}

// startRedis starts a Redis server, which runs until stop is called.
func startRedis(ctx context.Context) (*redisServer, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, errNoRedis
	}
	dir, err := os.MkdirTemp("", "fleet-redis-")
	if err != nil {
		return nil, err
	}
	running, kill := context.WithCancel(context.Background())
	s := &redisServer{socket: filepath.Join(dir, "redis.sock"), dir: dir, kill: kill, exited: make(chan struct{})}
	var log strings.Builder
	cmd := exec.CommandContext(running, program, "--port", "0", "--unixsocket", s.socket, "--save", "", "--appendonly", "no", "--dir", dir)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := start(cmd); err != nil {
		close(s.exited)
		s.stop()
		return nil, fmt.Errorf("redis-server: %w", err)
	}
	s.pid = cmd.Process.Pid
	go func() {
		defer close(s.exited)
		cmd.Wait() // its error is that it was killed
	}()
	ctx, cancel := context.WithTimeout(ctx, redisStart)
	defer cancel()
	for {
		conn, err := net.Dial("unix", s.socket)
		if err == nil {
			conn.Close()
			return s, nil
		}
		select {
		case <-s.exited:
			s.stop()
			return nil, fmt.Errorf("redis-server ended at once:\n%s", log.String())
		case <-ctx.Done():
			s.stop()
			return nil, fmt.Errorf("redis-server can't be reached: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop kills the server, waits for its end, and removes its directory.
func (s *redisServer) stop() {
	s.kill()
	<-s.exited
	os.RemoveAll(s.dir)
}
