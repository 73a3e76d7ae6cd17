// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
)

func TestWhichFailuresOfTheUpstreamAreLogged(t *testing.T) {
	start := time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)
	at := func(after time.Duration) time.Time { return start.Add(after) }
	open := outage{open: true, last: start, unlogged: 2}
	closed := outage{last: start, unlogged: 2}
	for name, tc := range map[string]struct {
		before outage
		now    time.Time
		failed bool
		after  outage
		logged bool
	}{
		"the first failure":                {outage{}, start, true, outage{open: true, last: start}, true},
		"an answer before any failure":     {outage{}, start, false, outage{}, false},
		"a failure, and no answer between": {open, at(time.Hour), true, outage{open: true, last: start, unlogged: 3}, false},
		"the first answer":                 {open, at(time.Hour), false, outage{last: start}, true},
		"the second answer":                {closed, at(time.Hour), false, closed, false},
		"a failure soon after":             {closed, at(outagePause - 1), true, outage{last: start, unlogged: 3}, false},
		"an answer to one not logged":      {outage{last: start, unlogged: 3}, at(outagePause), false, outage{last: start, unlogged: 3}, false},
		"a failure after the pause":        {closed, at(outagePause), true, outage{open: true, last: at(outagePause)}, true},
	} {
		if after, logged := tc.before.next(tc.now, tc.failed); after != tc.after || logged != tc.logged {
			t.Errorf("%s: %+v, %t, want %+v, %t", name, after, logged, tc.after, tc.logged)
		}
	}
}

// One path of the upstream fails, and the others answer.
func TestAnUpstreamThatFlapsDoesNotFillTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authsectest.NewInMemoryServer()
		srv.Delegate(authsectest.ClientID, authsectest.Delegation{TTL: 24 * time.Hour})
		src, err := authsec.NewSource(srv.Config(authsectest.ClientID))
		if err != nil {
			t.Fatal(err)
		}
		var logs bytes.Buffer
		s := testSidecar(t, src)
		s.log = slog.New(slog.NewJSONHandler(&logs, nil))
		s.names = map[string]bool{"example.com": true}
		s.handler.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
			if req.URL.Path == "/bad" {
				return nil, io.EOF
			}
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
		})
		for range 50 { // 10 s
			for _, path := range []string{"/bad", "/good"} {
				s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
				time.Sleep(100 * time.Millisecond)
			}
		}
		s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/bad", nil))
		var found []string
		for line := range strings.Lines(logs.String()) {
			var l struct {
				Msg      string
				Unlogged int
			}
			json.Unmarshal([]byte(line), &l)
			found = append(found, fmt.Sprintf("%s (%d)", l.Msg, l.Unlogged))
		}
		if got, want := strings.Join(found, ", "), "upstream failed (0), upstream answers again (0), upstream failed (49)"; got != want {
			t.Errorf("records %s, want %s", got, want)
		}
	})
}
