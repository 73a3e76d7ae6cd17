// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package dev

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/cmd/authsec/internal/cli"
)

// execute runs the command until the test ends or stop is called, which returns its
// error.
func execute(t *testing.T, args ...string) (stdout, stderr *lines, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	stdout, stderr = new(lines), new(lines)
	cmd := Command()
	cmd.SetArgs(append([]string{"--listen=127.0.0.1:0", "--api-listen=127.0.0.1:0"}, args...))
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true // as under the root command
	done := make(chan error, 1)
	go func() { done <- cmd.ExecuteContext(ctx) }()
	stop = func() error {
		cancel()
		select {
		case err := <-done:
			done <- err
			return err
		case <-time.After(20 * time.Second):
			t.Fatal("the command does not end")
			return nil
		}
	}
	t.Cleanup(func() { stop() })
	for deadline := time.Now().Add(20 * time.Second); stdout.String() == ""; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the command printed nothing")
		}
	}
	return stdout, stderr, stop
}

// startingWith returns the lines of a text with this prefix.
func startingWith(text, prefix string) (found []string) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, prefix) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

// environment is what a POSIX shell makes of the export lines.
func environment(t *testing.T, text string) map[string]string {
	t.Helper()
	shell := exec.Command("sh", "-c", strings.Join(startingWith(text, "export "), "\n")+"\nenv")
	shell.Env = []string{"PATH=" + os.Getenv("PATH")} // none of this process's variables
	out, err := shell.Output()
	if err != nil {
		t.Skipf("no shell: %v", err)
	}
	vars := map[string]string{}
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if strings.HasPrefix(name, "AUTHSEC_") || name == "DOWNSTREAM_URL" {
			vars[name] = value
		}
	}
	return vars
}

// TestPrintedEnvironmentAndCurlLines does what the command says.
func TestPrintedEnvironmentAndCurlLines(t *testing.T) {
	for _, generation := range []string{older, newer} {
		t.Run(generation, func(t *testing.T) {
			stdout, _, stop := execute(t, "--generation", generation, "--audience", "https://api.example.com/a b&c")
			vars := environment(t, stdout.String())
			if want := map[string]int{older: 3, newer: 4}[generation]; len(vars) != want {
				t.Fatalf("%d variables, want %d:\n%s", len(vars), want, stdout)
			}
			powerShell := startingWith(stdout.String(), "$env:")
			for _, line := range powerShell {
				name, value, _ := strings.Cut(strings.TrimPrefix(line, "$env:"), " = ")
				if strings.Trim(value, "'") != vars[name] || !strings.HasPrefix(value, "'") {
					t.Errorf("PowerShell: %s, want %q", line, vars[name])
				}
			}
			if len(powerShell) != len(vars) {
				t.Errorf("%d variables for PowerShell, want %d", len(powerShell), len(vars))
			}

			for name, value := range vars {
				t.Setenv(name, value)
			}
			cfg, err := authsec.ConfigFromEnv()
			if err != nil {
				t.Fatal(err)
			}
			client, err := authsec.NewClient(cfg)
			if err != nil {
				t.Fatal(err)
			}
			call := func() int {
				t.Helper()
				resp, err := client.Get(vars["DOWNSTREAM_URL"])
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				return resp.StatusCode
			}
			if status := call(); status != http.StatusOK {
				t.Errorf("the API: got %d, want 200", status)
			}

			curls := startingWith(stdout.String(), "curl ")
			if len(curls) != 4 {
				t.Fatalf("got %d curl lines, want 4:\n%s", len(curls), stdout)
			}
			for i, want := range []string{`"ttl_seconds":3600`, `"ttl_seconds":10`, `"status":"revoked"`, "401 Unauthorized"} {
				out, err := exec.Command("sh", "-c", curls[i]).Output()
				if errors.As(err, new(*exec.Error)) || strings.Contains(string(out), "not found") {
					t.Skip("no curl")
				}
				if err != nil || !strings.Contains(string(out), want) {
					t.Errorf("%s: got %v, no %s in the answer", curls[i], err, want)
				}
				if i == 0 && !strings.Contains(string(out), `"audience":["https://api.example.com/a","b\u0026c"]`) {
					t.Errorf("%s: another audience", curls[i])
				}
			}
			if err := stop(); err != nil {
				t.Errorf("interrupted: %v", err)
			}
			if _, err := http.Get(vars["DOWNSTREAM_URL"]); err == nil {
				t.Error("the API still answers")
			}
		})
	}
}

// TestSDKRequestOnTheWire sends nothing but what AuthSec's own SDKs send.
func TestSDKRequestOnTheWire(t *testing.T) {
	stdout, _, _ := execute(t)
	host := strings.TrimPrefix(environment(t, stdout.String())["AUTHSEC_BASE_URL"], "http://")
	if !strings.Contains(stdout.String(), "the user-flow URL is http://"+host+"/uflow\n") {
		t.Errorf("the user-flow URL is not printed:\n%s", stdout)
	}
	conn, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(conn, "GET /uflow/sdk/delegation-token HTTP/1.1\r\nHost: "+host+"\r\nX-Client-ID: "+authsectest.ClientID+"\r\nAccept: application/json\r\nConnection: close\r\n\r\n")
	text, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	header, _, _ := strings.Cut(string(text), "\r\n\r\n")
	if !strings.HasPrefix(header, "HTTP/1.1 200 OK\r\n") || !strings.Contains(header, "Content-Type: application/json; charset=utf-8") || !strings.Contains(string(text), `"permissions":["billing:read","users:read"]`) {
		t.Errorf("got %s", header)
	}
}

func TestAddressInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	for _, flag := range []string{"listen", "api-listen"} {
		cmd := Command()
		cmd.SetArgs([]string{"--listen", free.Addr().String(), "--api-listen", free.Addr().String(), "--" + flag, taken.Addr().String()})
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		cmd.SetOut(io.Discard)
		err := cmd.ExecuteContext(t.Context())
		if err == nil || errors.As(err, new(*cli.UsageError)) {
			t.Fatalf("got %v, want an error that is not about usage", err)
		}
		if want := "can't listen on " + taken.Addr().String() + ": " + syscall.EADDRINUSE.Error(); err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
		if advice := cli.Advice(err); !strings.HasSuffix(advice, "or choose another with --"+flag) {
			t.Errorf("got the advice %q", advice)
		}
		again, err := net.Listen("tcp", free.Addr().String())
		if err != nil {
			t.Fatalf("the other address is still taken: %v", err)
		}
		again.Close()
	}
}

func TestUsageErrors(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--listen 0.0.0.0:7480", "is not a loopback address"},
		{"--listen :7480", "is not a loopback address"},
		{"--listen 192.0.2.1:7480", "is not a loopback address"},
		{"--listen [::]:7480", "is not a loopback address"},
		{"--listen localhost.example.com:0", "is not a loopback address"},
		{"--api-listen 10.0.0.1:7481", "--api-listen"},
		{"--listen 7480", "is no address"},
		{"--client-id bob", "is not a UUID"},
		{"--permissions a\\b", "is no permission"},
		{"--require bücher:read", "is no permission"},
		{"--audience=", "--audience is empty"},
		{"--generation oldest", "write older or newer"},
		{"--lifetime 999ms", "at least 1s"},
		{"--lifetime 9000h", "at most 8760h"},
		{"--lifetime 25h --generation newer", "at most 24h"},
		{"--rate-limit -1", "is negative"},
		{"--latency -1s", "is not from 0 to 10m"},
		{"--fail 200", "400 to 599"},
		{"--fail 600", "400 to 599"},
		{"--fail-rate 1.1", "is not from 0 to 1"},
		{"--fail-rate NaN", "is not from 0 to 1"},
		{"now", "unexpected argument"},
	} {
		cmd := Command()
		cmd.SetArgs(strings.Fields(c.args))
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		cmd.SetOut(io.Discard)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := cmd.ExecuteContext(ctx)
		if !errors.As(err, new(*cli.UsageError)) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want a usage error with %q", c.args, err, c.want)
		}
	}
}

func TestLoopbackAddressesAreAccepted(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "127.9.9.9:1", "localhost:0", "LOCALHOST:0", "[::1]:0", "[::ffff:127.0.0.1]:0"} {
		if err := checkAddress("listen", address); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{time.Hour: "1h", 90 * time.Minute: "1h30m", time.Minute: "1m", 10 * time.Second: "10s", 20 * time.Minute: "20m", 3661 * time.Second: "1h1m1s", 10 * time.Hour: "10h"} {
		if got := short(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
}

// TestListenChecksTheAddressItGot is for a localhost that is not on loopback.
func TestListenChecksTheAddressItGot(t *testing.T) {
	l, err := listen(t.Context(), "listen", "0.0.0.0:0")
	if err == nil {
		l.Close()
	}
	if !errors.As(err, new(*cli.UsageError)) || !strings.Contains(err.Error(), "which is not a loopback address: write 127.0.0.1") {
		t.Errorf("got %v, want a usage error", err)
	}
}

func TestClientIDInAnySpelling(t *testing.T) {
	b := newBench(t, "--client-id", " {7B477E30-3989-4C12-926C-3945A59F761F}")
	if _, answer := b.get(); answer["client_id"] != "7b477e30-3989-4c12-926c-3945a59f761f" {
		t.Errorf("got client_id %v", answer["client_id"])
	}
}
