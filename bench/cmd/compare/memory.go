// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/bench/peers"
)

// childEnv has the orders for a process that makes one upload. It is a process of its
// own, so that the peak of its memory is that of the upload.
const childEnv = "AUTHSEC_COMPARE_UPLOAD"

type uploadOrders struct {
	Peer, AuthSecURL, APIURL string
	Bytes                    int64
}

// measureUploads measures the peak memory of a process that makes one upload.
func measureUploads(size scale) (*findings, error) {
	f := &findings{
		title: "Uploads",
		text: `
A PUT of a stream with a Content-Length and without GetBody, over plain HTTP on loopback, each in its own process: the peak of the resident memory
(VmHWM) of the whole program. authsec reads bodies up to 64 KiB into memory first (BufferBodies). azcore is missing, because its requests need seekable bodies.`,
		head: []string{"peak MiB"},
	}
	for _, n := range size.uploads {
		f.head = append(f.head, bytesText(n))
	}
	srv := authsectest.NewServer()
	defer srv.Close()
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	api := httptest.NewServer(srv.API(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		fmt.Fprint(w, n)
	})))
	defer api.Close()
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	peaks := map[string][]float64{}
	for _, p := range peers.Named(peers.AuthSec, peers.OAuth2, peers.Retryable, peers.GoogleAuth, peers.ReadyHeader) {
		cells := []string{name(p)}
		for _, n := range size.uploads {
			orders, err := json.Marshal(uploadOrders{p.Name, srv.URL, api.URL, n})
			if err != nil {
				return nil, err
			}
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			cmd := exec.CommandContext(ctx, self)
			cmd.Env = append(os.Environ(), childEnv+"="+string(orders))
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			cancel()
			if err != nil {
				return nil, fmt.Errorf("upload of %s by %s: %w", bytesText(n), p.Name, err)
			}
			peak, err := strconv.ParseFloat(string(out), 64)
			if err != nil {
				return nil, fmt.Errorf("upload of %s by %s: its peak memory: %w", bytesText(n), p.Name, err)
			}
			peaks[p.Name] = append(peaks[p.Name], peak)
			cells = append(cells, fmt.Sprintf("%.0f", peak))
		}
		f.row(cells...)
	}
	list := peaks[peers.AuthSec]
	least, most := list[0], list[len(list)-1]
	const flat = 8 // MiB; the peak differs by this from run to run
	f.must(most-least <= flat, fmt.Sprintf("flat (within %d MiB)", flat), "%+.0f MiB from %s to %s", most-least, bytesText(size.uploads[0]), bytesText(size.uploads[len(size.uploads)-1]))
	return f, nil
}

func bytesText(n int64) string {
	for _, unit := range []string{"B", "KiB", "MiB"} {
		if n < 1024 {
			return strconv.FormatInt(n, 10) + " " + unit
		}
		n /= 1024
	}
	return strconv.FormatInt(n, 10) + " GiB"
}

// zeros is an endless stream, of a type for which net/http sets no GetBody.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// uploadChild makes the upload that childEnv orders, and prints its peak memory in MiB.
func uploadChild() error {
	var o uploadOrders
	if err := json.Unmarshal([]byte(os.Getenv(childEnv)), &o); err != nil {
		return err
	}
	found := peers.Named(o.Peer)
	if len(found) != 1 {
		return fmt.Errorf("no peer %q", o.Peer)
	}
	job := peers.Job{AuthSecURL: o.AuthSecURL, ClientID: authsectest.ClientID, Client: http.DefaultClient, Host: strings.TrimPrefix(o.APIURL, "http://")}
	rt, err := found[0].RoundTripper(job, http.DefaultTransport)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodPut, o.APIURL, io.LimitReader(zeros{}, o.Bytes))
	if err != nil {
		return err
	}
	req.ContentLength = o.Bytes
	resp, err := (&http.Client{Transport: rt}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if string(got) != strconv.FormatInt(o.Bytes, 10) {
		return fmt.Errorf("status %d: the API read %q bytes, want %d", resp.StatusCode, got, o.Bytes)
	}
	// Not from getrusage: it includes the process before exec.
	var kib float64
	if _, err := fmt.Sscanf(procField("/proc/self/status", "VmHWM"), "%g kB", &kib); err != nil {
		return fmt.Errorf("this system does not report peak memory: %w", err)
	}
	fmt.Print(kib / 1024)
	return nil
}

// measureColdStart measures the time until the first authenticated response.
func measureColdStart(size scale) (*findings, error) {
	f := &findings{
		title: "Cold start",
		text: fmt.Sprintf(`
From setting up a client to its first response, with new connections to both servers, over TLS and HTTP/2, %d times in turns. "Own" is the time minus
that of the floor in the same turn. The floor makes the same two requests by hand.`, size.coldRounds),
		head: []string{"", "first response (median)", "own (median)", "requests to AuthSec", "requests to the API", "goroutines left"},
	}
	contestants := append(authenticated(), peers.Named(peers.ReadyHeader)...)
	took := map[string][]float64{}
	asked, calls, left := map[string]int{}, map[string]int{}, map[string]int{}
	for round := range size.coldRounds {
		for i := range contestants {
			p := contestants[(i+round)%len(contestants)]
			goroutines := runtime.NumGoroutine()
			l := newLab(labOptions{})
			l.Delegate(authsectest.ClientID, authsectest.Delegation{})
			began := time.Now()
			base := l.base(2)
			rt, err := p.RoundTripper(l.job(), base)
			if err == nil {
				err = get(context.Background(), &http.Client{Transport: rt}, l.api.URL)
			}
			took[p.Name] = append(took[p.Name], time.Since(began).Seconds())
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p.Name, err)
			}
			asked[p.Name], calls[p.Name] = max(asked[p.Name], len(l.asked())), max(calls[p.Name], l.APICalls())
			base.CloseIdleConnections()
			l.auth.Client().CloseIdleConnections()
			l.close()
			left[p.Name] = max(left[p.Name], goroutinesAbove(goroutines))
		}
	}
	own := map[string]float64{}
	for _, p := range contestants {
		var difference []float64
		for i, d := range took[p.Name] {
			difference = append(difference, d-took[peers.ReadyHeader][i])
		}
		own[p.Name] = median(difference)
		f.row(name(p), ms(median(took[p.Name])), ms(median(difference)), fmt.Sprint(asked[p.Name]), fmt.Sprint(calls[p.Name]), fmt.Sprint(left[p.Name]))
	}
	f.must(asked[peers.AuthSec] == 1 && calls[peers.AuthSec] == 1, "one round trip to each server", "%d and %d", asked[peers.AuthSec], calls[peers.AuthSec])
	f.aim(own[peers.AuthSec] < 0.005, "under 5 ms own time", "%s", ms(own[peers.AuthSec]))
	f.rank("cold start, own time", ms, own)
	return f, nil
}

// goroutinesAbove returns how many goroutines beyond n are left after at most a second.
func goroutinesAbove(n int) int {
	deadline := time.Now().Add(time.Second)
	for runtime.NumGoroutine() > n && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	return max(0, runtime.NumGoroutine()-n)
}

// measureSources measures an idle source that has a token.
func measureSources(size scale) (*findings, error) {
	f := &findings{
		title: "Many sources in one process",
		text: `
The live heap after a garbage collection, for each source with a token, and the goroutines of idle sources. Each source has its own token of the server's
usual size, and all use one http.Client.`,
		head: []string{"sources", "", "bytes a source", "goroutines"},
	}
	srv := authsectest.NewInMemoryServer()
	idle, weight := 0, map[string]float64{}
	for _, n := range size.sourceCounts {
		for _, p := range peers.Named(peers.AuthSec, peers.OAuth2, peers.GoogleAuth, peers.AWS) {
			jobs := make([]peers.Job, n)
			for i := range jobs {
				id := fmt.Sprintf("00000000-0000-4000-8000-%012d", i)
				srv.Delegate(id, authsectest.Delegation{Permissions: []string{"billing:read", "users:read"}})
				jobs[i] = peers.Job{AuthSecURL: srv.URL, ClientID: id, Client: srv.Client()}
			}
			sources := make([]func(context.Context) (string, error), n)
			heap, goroutines := liveHeap(), runtime.NumGoroutine()
			for i := range sources {
				get, err := p.Token(jobs[i])
				if err == nil {
					_, err = get(context.Background())
				}
				if err != nil {
					return nil, fmt.Errorf("%s: %w", p.Name, err)
				}
				sources[i] = get
			}
			more := goroutinesAbove(goroutines)
			each := (int64(liveHeap()) - int64(heap)) / int64(n)
			runtime.KeepAlive(sources)
			runtime.KeepAlive(jobs)
			f.row(fmt.Sprint(n), name(p), fmt.Sprint(each), fmt.Sprint(more))
			if weight[p.Name] = float64(each); p.Name == peers.AuthSec {
				idle = max(idle, more)
			}
		}
	}
	f.must(idle == 0, "no goroutine while idle", "%d", idle)
	f.rank("memory of a source", func(v float64) string { return fmt.Sprintf("%.0f B", v) }, weight)
	return f, nil
}

func liveHeap() uint64 {
	var m runtime.MemStats
	for range 3 { // finalizers and pools need more than one
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
