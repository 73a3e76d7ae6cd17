// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

// Package redistest starts real Redis servers for tests, as net/http/httptest does
// for HTTP: on a loopback port, without persistence, until the test ends. They can
// be killed, restarted and paused.
//
//	srv := redistest.Start(t)
//	client := redis.NewClient(&redis.Options{Addr: srv.Addr})
//	...
//	srv.Stop()
//	srv.Restart()
//
// It needs redis-server and redis-cli on the PATH (Debian and Ubuntu: the package
// redis-server). Without redis-server the test is skipped, or fails if the
// environment variable AUTHSEC_REQUIRE_REDIS is not empty.
package redistest

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// RequireEnv is the environment variable that makes a missing redis-server an error.
const RequireEnv = "AUTHSEC_REQUIRE_REDIS"

const (
	startTime = 15 * time.Second // within which a server must listen
	attempts  = 5                // to start one: another process may take its port
)

// Servers get a random port from this range. It is below the ports that systems use
// for outgoing connections, so a port is still free when its server is restarted.
const minPort, maxPort = 20000, 32000

// Server is a redis-server process. Its methods are for one goroutine at a time.
type Server struct {
	Addr string // host and port

	// TLSConfig is for clients of a server that [StartTLS] started. It trusts the
	// server's certificate. nil for other servers.
	TLSConfig *tls.Config

	t      testing.TB
	args   []string // of the process, the program's path first
	config []string // the lines that the file had at first
	log    output
	cmd    *exec.Cmd     // nil: not running
	exited chan struct{} // closed when cmd has ended
}

// Start starts a server, with these lines of redis.conf in addition to its own. The
// server stops when the test ends.
func Start(t testing.TB, config ...string) *Server {
	t.Helper()
	return start(t, nil, func(port int) []string {
		return append([]string{"port " + strconv.Itoa(port), `save ""`, "appendonly no"}, config...)
	})
}

// StartTLS is Start for a server that accepts TLS only.
func StartTLS(t testing.TB, config ...string) *Server {
	t.Helper()
	dir := t.TempDir()
	certificate, key := filepath.Join(dir, "certificate.pem"), filepath.Join(dir, "key.pem")
	clients := writeIdentity(t, certificate, key)
	s := start(t, nil, func(port int) []string {
		return append([]string{
			"port 0", "tls-port " + strconv.Itoa(port), "tls-cert-file " + certificate, "tls-key-file " + key,
			"tls-ca-cert-file " + certificate, "tls-auth-clients no", `save ""`, "appendonly no",
		}, config...)
	})
	s.TLSConfig = clients
	return s
}

// start starts a server whose configuration depends on its port.
func start(t testing.TB, flags []string, config func(port int) []string) *Server {
	t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		const need = "redis-server is not on the PATH: install it (Debian and Ubuntu: apt-get install redis-server)"
		if os.Getenv(RequireEnv) != "" {
			t.Fatal(need)
		}
		t.Skip(need)
	}
	var s *Server
	for range attempts {
		port := freePort(t)
		dir := t.TempDir()
		file := filepath.Join(dir, "redis.conf")
		s = &Server{Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), t: t}
		s.args = append([]string{binary, file}, flags...)
		s.config = append([]string{"bind 127.0.0.1", "dir " + dir, "daemonize no"}, config(port)...)
		if err := os.WriteFile(file, []byte(strings.Join(s.config, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Stop)
		if err = s.run(); err == nil {
			return s
		}
	}
	t.Fatalf("starting redis-server: %v\n%s", err, s.log.String())
	return nil
}

// run starts the process and waits until it listens.
func (s *Server) run() error {
	cmd := exec.Command(s.args[0], s.args[1:]...)
	cmd.Stdout, cmd.Stderr = &s.log, &s.log
	cmd.SysProcAttr = attributes()
	if err := cmd.Start(); err != nil {
		return err
	}
	s.cmd, s.exited = cmd, make(chan struct{})
	go func(exited chan struct{}) {
		cmd.Wait() // its error is that it was killed
		close(exited)
	}(s.exited)
	for deadline := time.Now().Add(startTime); ; {
		conn, err := net.Dial("tcp", s.Addr)
		select {
		case <-s.exited:
			if err == nil { // another process's
				conn.Close()
			}
			s.Stop()
			return errors.New("it ended at once")
		default:
		}
		if err == nil {
			conn.Close()
			return nil
		}
		if time.Now().After(deadline) {
			s.Stop()
			return fmt.Errorf("it does not listen: %w", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Stop kills the process (SIGKILL) and waits for its end. Its data is lost.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	s.cmd.Process.Kill() // fails only if the process has ended
	<-s.exited
	s.cmd = nil
}

// Restart starts the server again on the same port, empty. It stops it first if it
// runs.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	if err := s.run(); err != nil {
		s.t.Fatalf("restarting redis-server: %v\n%s", err, s.log.String())
	}
}

// Pause suspends the process (SIGSTOP): the system accepts connections, and nothing
// is answered.
func (s *Server) Pause() { s.t.Helper(); s.signal(syscall.SIGSTOP) }

// Resume ends a pause (SIGCONT).
func (s *Server) Resume() { s.t.Helper(); s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig os.Signal) {
	s.t.Helper()
	if s.cmd == nil {
		s.t.Fatal("the server does not run")
	}
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatalf("sending %v: %v", sig, err)
	}
}

// CLI sends one command with redis-cli, over a plain connection as the default user,
// and returns the answer.
func (s *Server) CLI(args ...string) string {
	s.t.Helper()
	host, port, _ := net.SplitHostPort(s.Addr)
	out, err := exec.Command("redis-cli", append([]string{"-e", "-h", host, "-p", port}, args...)...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("redis-cli %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func wait(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(startTime); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", startTime, what)
		}
	}
}

// freePort returns a port on which nothing listens now.
func freePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := minPort + rand.N(maxPort-minPort)
		ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			ln.Close()
			return port
		}
	}
	t.Fatalf("no port from %d to %d is free", minPort, maxPort)
	return 0
}

// writeIdentity writes httptest's certificate for 127.0.0.1 and its key. It returns
// a config for clients that trusts the certificate.
func writeIdentity(t testing.TB, certificateFile, keyFile string) *tls.Config {
	t.Helper()
	web := httptest.NewTLSServer(nil)
	defer web.Close()
	identity := web.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(identity.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		certificateFile: {Type: "CERTIFICATE", Bytes: identity.Certificate[0]},
		keyFile:         {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	return &tls.Config{RootCAs: roots}
}

// output is what processes print. It is safe for concurrent use.
type output struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
