// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
)

// The rejection of a token is logged once for each API, until the API accepts a token.
// The record has host, status, and whether AuthSec had another token.
func TestRejectedTokenIsLoggedOnceAHost(t *testing.T) {
	var log bytes.Buffer
	status := map[string]int{}
	tr := to(renewingTo(secondToken), baseFunc(func(req *http.Request) (*http.Response, error) {
		code := status[req.URL.Host]
		if code == 0 {
			code = 401
		}
		return &http.Response{StatusCode: code, Header: http.Header{}, Body: http.NoBody}, nil
	}), hosts("*"))
	tr.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	send := func(host string, want ...string) {
		t.Helper()
		log.Reset()
		resp, err := tr.RoundTrip(get(t, "https://"+host+"/secret"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		for _, w := range want {
			if !strings.Contains(log.String(), w) {
				t.Errorf("%s: log is %q, want %q in it", host, log.String(), w)
			}
		}
		if len(want) == 0 && log.Len() > 0 {
			t.Errorf("%s: log is %q, want nothing", host, log.String())
		}
		for _, secret := range []string{firstToken, secondToken, "secret"} {
			if strings.Contains(log.String(), secret) {
				t.Errorf("%s: the log shows %q", host, secret)
			}
		}
	}
	send("a.example.com", `level=WARN msg="token rejected" host=a.example.com status=401 another_token=true`)
	send("a.example.com", `level=DEBUG msg="token rejected" host=a.example.com`)
	send("b.example.com", `level=WARN msg="token rejected" host=b.example.com`)
	status["a.example.com"] = 200
	send("a.example.com")
	status["a.example.com"] = 401
	send("a.example.com", `level=WARN msg="token rejected" host=a.example.com`)
	send("b.example.com", `level=DEBUG msg="token rejected" host=b.example.com`)

	tr.Source, log = staticSource(), bytes.Buffer{} // which has no other
	tr = &authsec.Transport{Source: staticSource(), Hosts: tr.Hosts, Base: tr.Base, Logger: tr.Logger}
	send("c.example.com", `level=WARN msg="token rejected" host=c.example.com status=401 another_token=false`)
}

// An API that answers 403 has accepted the token, whatever it says of permissions.
func TestForbiddenEndsTheRejectionsOfAHost(t *testing.T) {
	for _, challenge := range []string{"", `Bearer error="insufficient_scope"`} {
		sourceBubble(t, func(t *testing.T, x *sourceFixture) {
			x.start()
			x.delegate("A", 10*time.Hour)
			tr := to(x.src, answering(outcome{status: 401}, outcome{status: 403, header: http.Header{"Www-Authenticate": {challenge}}}, outcome{status: 401}))
			var log sourceLog
			tr.Logger = slog.New(&log)
			for range 3 {
				tr.RoundTrip(get(t, api))
				x.sleep(time.Minute)
			}
			warnings := 0
			for _, e := range log.all() {
				if e.level == slog.LevelWarn && e.msg == "token rejected" {
					warnings++
				}
			}
			if warnings != 2 {
				t.Errorf("challenge %q: got %d warnings, want 2", challenge, warnings)
			}
		})
	}
}

// A local clock that is wrong by more than a minute is logged once.
func TestWrongLocalClockIsLoggedOnce(t *testing.T) {
	for off, want := range map[time.Duration]string{
		0: "", 50 * time.Second: "", -50 * time.Second: "", 5 * time.Minute: "5m", -3 * time.Hour: "-2h59m59s",
	} {
		sourceBubble(t, func(t *testing.T, x *sourceFixture) {
			x.start(func(c *authsec.Config) {
				next := c.HTTPClient.Transport
				c.HTTPClient = &http.Client{Transport: baseFunc(func(req *http.Request) (*http.Response, error) {
					resp, err := next.RoundTrip(req)
					if err == nil {
						resp.Header.Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
					}
					return resp, err
				})}
			})
			x.delegate("A", 10*time.Hour)
			for range 3 {
				x.src.Refresh(t.Context())
				x.sleep(2 * time.Second)
			}
			var got []string
			for _, e := range x.log.take() {
				if e.msg == "local clock is wrong" {
					got = append(got, e.text)
					if e.level != slog.LevelWarn {
						t.Errorf("got level %v, want Warn", e.level)
					}
				}
			}
			if (want == "") != (len(got) == 0) || len(got) > 1 || want != "" && !strings.Contains(got[0], "behind_server_by="+want) {
				t.Errorf("off by %v: got logs %q, want one with %q", off, got, want)
			}
		})
	}
}

// A cached failure is not logged again, so it costs no more with a Logger.
func TestCachedFailureIsNotLogged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		logs := new(sourceLog)
		src := endpointSource(t, authsectest.Answer(404, `{"error":"Client not found"}`), func(c *authsec.Config) { c.Logger = slog.New(logs) })
		for range 1000 {
			src.Token()
		}
		if got := len(logs.all()); got != 1 {
			t.Errorf("1,000 calls within a second: got %d records, want 1", got)
		}
	})
}
