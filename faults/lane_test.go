// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/fetchtool"
	authsecverify "github.com/authsec-go/authsec/verify"
)

// lane is a stack with a relay in front of each of its servers. Its count is of the
// server behind forgetful.
type lane struct {
	*stack
	toAPI, toEndpoint *relay
	forgetful         *relay
	asked             atomic.Int64 // requests that arrived
	holding           atomic.Pointer[hold]
}

// hold keeps requests waiting at the server.
type hold struct{ arrived, release chan struct{} }

// newLane makes a lane whose connections to the endpoint, or else to the API, will be
// forgotten.
func newLane(t *testing.T, w wire, endpoint bool) *lane {
	t.Helper()
	l := &lane{stack: newStack(t, w)}
	open := func(target *host) *relay {
		r, err := newRelay(target.addr)
		if err != nil {
			t.Fatalf("starting a relay: %v", err)
		}
		t.Cleanup(r.close)
		return r
	}
	l.toAPI, l.toEndpoint = open(l.api), open(l.endpoint)
	if endpoint {
		l.forgetful = l.toEndpoint
		l.setFront(l.counted(l.auth.Handler().ServeHTTP))
	} else {
		l.forgetful = l.toAPI
		l.setAPIFront(l.counted(l.serveAuthorized))
	}
	return l
}

func (l *lane) counted(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		l.asked.Add(1)
		if h := l.holding.Load(); h != nil {
			h.arrived <- struct{}{}
			<-h.release
		}
		next(w, r)
	}
}

// config is a user's Config, without an HTTPClient.
func (l *lane) config() authsec.Config {
	return authsec.Config{BaseURL: l.wire.url(l.toEndpoint.addr()), ClientID: authsectest.ClientID, Hosts: []string{l.apiURL()}}
}

func (l *lane) apiURL() string { return l.wire.url(l.toAPI.addr()) }

// sender makes one call.
type sender func(context.Context) error

// within makes one call with a time-out.
func (send sender) within(d time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return send(ctx)
}

// together makes n calls at once. When the server has got them all, it calls then, and
// lets the server answer. It returns the calls' errors.
func (l *lane) together(n int, send sender, timeout time.Duration, then func()) (failed []error) {
	h := &hold{make(chan struct{}, n+maxAttempts), make(chan struct{})}
	l.holding.Store(h)
	results := make(chan error, n)
	for range n {
		go func() { results <- send.within(timeout) }()
	}
	for range n {
		select {
		case <-h.arrived:
		case <-time.After(schedulingAllowance):
			failed = append(failed, errors.New("a request did not arrive"))
		}
	}
	then()
	l.holding.Store(nil)
	close(h.release)
	for range n {
		if err := <-results; err != nil {
			failed = append(failed, err)
		}
	}
	return failed
}

// requests returns a sender of requests to the API.
func (l *lane) requests(client *http.Client, method, url string) sender {
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, method, url, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d", resp.StatusCode)
		}
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
}

// parts are the parts of the library that make their own connections.
var parts = []struct {
	name     string
	endpoint bool          // the connection to the endpoint is forgotten, and not that to the API
	lost     int           // calls, at most
	rest     time.Duration // between two calls
	open     func(l *lane) (send sender, err error)
}{
	// Refresh asks at most once a second.
	{name: "Source.Refresh", endpoint: true, lost: 0, rest: 1100 * time.Millisecond, open: func(l *lane) (sender, error) {
		src, err := authsec.NewSource(l.config())
		return func(ctx context.Context) error {
			_, err := src.Refresh(ctx)
			return err
		}, err
	}},
	// Each Verifier fetches the keys once, and all of them share the connections.
	{name: "verify", endpoint: true, lost: 1, open: func(l *lane) (sender, error) {
		token := l.auth.Delegate(authsectest.ClientID, authsectest.Delegation{})
		cfg := authsecverify.Config{BaseURL: l.config().BaseURL, Tenants: []string{authsectest.TenantID}, Audience: "authsec-api"}
		return func(ctx context.Context) error {
			v, err := authsecverify.New(cfg)
			if err != nil {
				return err
			}
			_, err = v.Verify(ctx, token)
			return err
		}, nil
	}},
	{name: "NewClient, GET", lost: 0, open: func(l *lane) (sender, error) {
		client, err := authsec.NewClient(l.config())
		return l.requests(client, http.MethodGet, l.apiURL()), err
	}},
	{name: "NewTransport, POST", lost: 1, open: func(l *lane) (sender, error) {
		transport, err := authsec.NewTransport(l.config())
		return l.requests(&http.Client{Transport: transport}, http.MethodPost, l.apiURL()), err
	}},
	{name: "fetchtool", lost: 0, open: func(l *lane) (sender, error) {
		tool, err := fetchtool.New(fetchtool.Config{AuthSec: l.config(), DownstreamURLs: []string{l.apiURL()}})
		return func(ctx context.Context) error {
			_, err := tool.Fetch(ctx, fetchtool.Request{URL: l.apiURL()})
			return err
		}, err
	}},
	{name: "authsec proxy", lost: 0, open: func(l *lane) (sender, error) {
		addr, err := l.startSidecar()
		return l.requests(http.DefaultClient, http.MethodGet, "http://"+addr), err
	}},
}

// program builds the authsec command, once.
var program = sync.OnceValues(func() (path string, err error) {
	path = filepath.Join(scratch, "authsec")
	out, err := exec.Command("go", "build", "-C", "../cmd/authsec", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building the command: %w\n%s", err, out)
	}
	return path, nil
})

// startSidecar starts "authsec proxy" as a process, and returns its address.
func (l *lane) startSidecar() (addr string, err error) {
	path, err := program()
	if err != nil {
		return "", err
	}
	cfg := l.config()
	cmd := exec.Command(path, "proxy", "--listen", "127.0.0.1:0", "--upstream", l.apiURL())
	cmd.Env = []string{"AUTHSEC_BASE_URL=" + cfg.BaseURL, "AUTHSEC_AGENT_CLIENT_ID=" + cfg.ClientID, certFile + "=" + os.Getenv(certFile)}
	log, err := cmd.StderrPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	found, ended := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(log); lines.Scan(); {
			var line struct{ Msg, Listen string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
				found <- line.Listen
			}
		}
	}()
	l.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
		cmd.Wait() // its error: it was killed
	})
	select {
	case addr = <-found:
		return addr, nil
	case <-ended:
		return "", errors.New("authsec proxy ended before it listened")
	}
}
