// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec/authsectest"
	"github.com/authsec-go/authsec/verify"
	"github.com/golang-jwt/jwt/v5"
)

// Nothing but the server's own word makes a token good or bad.
func TestAnswersToChecksAreReadStrictly(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		body   string
		want   error
	}{
		"valid":                  {200, `{"valid":true}`, nil},
		"valid, with a BOM":      {200, "\ufeff" + `{"valid":true}`, nil},
		"invalid":                {200, `{"valid":false}`, verify.ErrInvalidToken},
		"invalid, null claims":   {200, `{"valid":false,"spiffe_id":"","claims":null}`, verify.ErrInvalidToken},
		"about this token":       {200, `{"valid":true,"claims":{"jti":"jti-1","sub":"spiffe://example.org/tenants/` + tenant + `/agents/test/a"}}`, nil},
		"claims of other types":  {200, `{"valid":true,"claims":{"jti":["jti-1"],"exp":"2026","iat":{}}}`, nil},
		"about another token":    {200, `{"valid":true,"claims":{"jti":"jti-2"}}`, verify.ErrUnavailable},
		"about another agent":    {200, `{"valid":true,"claims":{"jti":"jti-1","sub":"spiffe://example.org/b"}}`, verify.ErrUnavailable},
		"about another life":     {200, `{"valid":true,"claims":{"jti":"jti-1","exp":1}}`, verify.ErrUnavailable},
		"about another time":     {200, `{"valid":true,"claims":{"iat":1}}`, verify.ErrUnavailable},
		"invalid, about another": {200, `{"valid":false,"claims":{"jti":"jti-2"}}`, verify.ErrUnavailable},
		"no word":                {200, `{"spiffe_id":"a"}`, verify.ErrUnavailable},
		"another case":           {200, `{"Valid":true}`, verify.ErrUnavailable},
		"text":                   {200, `{"valid":"true"}`, verify.ErrUnavailable},
		"a number":               {200, `{"valid":1}`, verify.ErrUnavailable},
		"null":                   {200, `{"valid":null}`, verify.ErrUnavailable},
		"no object":              {200, `true`, verify.ErrUnavailable},
		"a null":                 {200, `null`, verify.ErrUnavailable},
		"a list":                 {200, `[{"valid":true}]`, verify.ErrUnavailable},
		"something after it":     {200, `{"valid":true}{"valid":false}`, verify.ErrUnavailable},
		"HTML":                   {200, `<html><body>{"valid":true}</body></html>`, verify.ErrUnavailable},
		"empty":                  {200, ``, verify.ErrUnavailable},
		"cut":                    {200, `{"valid":true`, verify.ErrUnavailable},
		"of 1 MiB":               {200, `{"valid":true}` + strings.Repeat(" ", 1<<20-14), nil},
		"huge":                   {200, `{"valid":true}` + strings.Repeat(" ", 1<<20), verify.ErrUnavailable},
		"nested without end":     {200, `{"valid":` + strings.Repeat("[", 1<<19), verify.ErrUnavailable},
		"another 2xx":            {202, `{"valid":true}`, verify.ErrUnavailable},
		"400":                    {400, `{"valid":false}`, verify.ErrUnavailable},
		"401":                    {401, `{"valid":false}`, verify.ErrUnavailable},
		"404":                    {404, `{"valid":false}`, verify.ErrUnavailable},
		"500":                    {500, `{"valid":false}`, verify.ErrUnavailable},
	} {
		c := newCourt()
		c.breakDown(authsectest.Answer(tc.status, tc.body), 0)
		check(t, name, c.verifier(t), token(), tc.want)
	}
	c := newCourt()
	c.breakDown(http.RedirectHandler(validatePath+"?again", http.StatusTemporaryRedirect), 0)
	check(t, "a redirect", c.verifier(t), token(), verify.ErrUnavailable)
	checkChecks(t, "a redirect", c, 1)
}

// onChecks has the checks go to f, and the rest to the court.
func onChecks(c *court, f tripper) func(*verify.Config) {
	return func(cfg *verify.Config) {
		cfg.HTTPClient = &http.Client{Transport: tripper(func(r *http.Request) (*http.Response, error) {
			if r.URL.Path == validatePath {
				return f(r)
			}
			return authsectest.RoundTripper(c).RoundTrip(r)
		})}
	}
}

func TestChecksAreBoundedWhateverTheTransportDoes(t *testing.T) {
	never := make(chan struct{})
	var v *verify.Verifier
	var secret string
	for name, tc := range map[string]struct {
		transport tripper
		want      time.Duration
		text      string
	}{
		"a body without end": {func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: endless{r.Context()}, Request: r}, nil
		}, 10 * time.Second, ": no answer within 10s"},
		"never returns": {func(*http.Request) (*http.Response, error) { <-never; return nil, io.EOF }, 10 * time.Second, ": no answer within 10s"},
		"panics":        {func(*http.Request) (*http.Response, error) { panic(secret) }, 0, ": Config.HTTPClient panicked: string"},
		"exits":         {func(*http.Request) (*http.Response, error) { runtime.Goexit(); return nil, nil }, 0, ": Config.HTTPClient ended its goroutine"},
		"echoes the token": {func(*http.Request) (*http.Response, error) {
			return nil, errors.New("malformed header X: " + secret + "\r\n")
		}, 0, ": malformed header X: [redacted]"},
		"echoes the token in a body": {func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: io.NopCloser(iotest.ErrReader(errors.New(secret))), Request: r}, nil
		}, 0, ": [redacted]"},
		"asks for itself": {func(r *http.Request) (*http.Response, error) {
			_, err := v.Verify(r.Context(), secret)
			return nil, err
		}, 0, "waiting for it: it waits for itself"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				never = make(chan struct{})
				c := newCourt()
				var log bytes.Buffer
				v, secret = c.verifier(t, onChecks(c, tc.transport), func(cfg *verify.Config) { cfg.Logger = slog.New(slog.NewTextHandler(&log, nil)) }), token()
				start := time.Now()
				_, err := v.Verify(t.Context(), secret)
				if waited := time.Since(start); !errors.Is(err, verify.ErrUnavailable) || waited != tc.want || !strings.HasSuffix(err.Error(), tc.text) {
					t.Errorf("error = %v after %v, want ErrUnavailable after %v with %q at its end", err, waited, tc.want, tc.text)
				}
				for _, part := range parts(secret) {
					if strings.Contains(fmt.Sprintf("%+v %v", err, log.String()), part) {
						t.Error("the error or the log holds a part of the token")
					}
				}
				if !strings.Contains(log.String(), `level=WARN msg="revocation check failed" tenant=`+tenant) {
					t.Errorf("log = %s, want the failure in it", log.String())
				}
				close(never)
				synctest.Wait()
			})
		})
	}
}

func TestFewChecksAreLeftBehindAndUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		var calls atomic.Int64
		c := newCourt()
		v := c.verifier(t, onChecks(c, func(*http.Request) (*http.Response, error) { calls.Add(1); <-end; return nil, io.EOF }))
		many := func(from int) {
			for i := range 300 {
				go v.Verify(t.Context(), longLived(agent(from+i)))
			}
			synctest.Wait()
		}
		many(0)
		if got := calls.Load(); got != 4 {
			t.Errorf("%d checks at once of 300 tokens, want 4", got)
		}
		time.Sleep(11 * time.Second)
		before := calls.Load() // the turn of others may come in the moment in which they give up
		many(1000)
		if got := calls.Load(); got != before {
			t.Errorf("%d checks while %d do not return, want no more", got, before)
		}
		close(end)
		time.Sleep(time.Minute)
	})
}

// The least recently used token is forgotten, which costs a request and no more.
func TestFewTokensAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCourt()
		c.publish(tenant, jwk(&ecKey().PublicKey)) // which signs fast
		named := func(i int) string {
			return sign(jwt.SigningMethodES256, ecKey(), header(object{"alg": "ES256"}), claims(agent(i)))
		}
		v := c.verifier(t, func(cfg *verify.Config) { cfg.Algorithms, cfg.RevocationCheck = []string{"ES256"}, time.Hour })
		first, used := named(-1), named(-2)
		check(t, "first", v, first, nil)
		for i := range 4096 {
			if i%1000 == 0 {
				check(t, "in use", v, used, nil)
			}
			check(t, "one of many", v, named(i), nil)
		}
		checkChecks(t, "4098 tokens", c, 4098)
		check(t, "in use", v, used, nil)
		checkChecks(t, "the token in use", c, 4098)
		check(t, "first", v, first, nil)
		checkChecks(t, "the first token, again", c, 4099)
	})
}

func TestALoggerDoesNoHarmToChecks(t *testing.T) {
	for name, act := range map[string]func(v *verify.Verifier){
		"panics":     func(*verify.Verifier) { panic("secret") },
		"exits":      func(*verify.Verifier) { runtime.Goexit() },
		"calls back": func(v *verify.Verifier) { v.Verify(context.Background(), token()) },
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newCourt()
			var v *verify.Verifier
			v = c.verifier(t)
			check(t, "before", v, longLived(), nil)
			calls := 0
			v = c.verifier(t, func(cfg *verify.Config) { cfg.Logger = slog.New(logger(func() { calls++; act(v) })) })
			c.breakDown(authsectest.Answer(500, "{}"), 0)
			_, err := v.Verify(t.Context(), token())
			if !errors.Is(err, verify.ErrUnavailable) || !strings.Contains(err.Error(), "500 Internal Server Error") || calls == 0 {
				t.Errorf("a Logger that %s: error = %v and %d calls, want the server's 500 and calls", name, err, calls)
			}
			c.breakDown(nil, 0)
			time.Sleep(2 * time.Second)
			check(t, name, v, token(), nil)
		})
	}
}

func TestFailuresOfChecksAreLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCourt()
		c.breakDown(authsectest.Answer(500, "{}"), 0)
		var log bytes.Buffer
		v := c.verifier(t, func(cfg *verify.Config) { cfg.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		for i := range 10 * 60 {
			check(t, "in the outage", v, longLived(agent(i)), verify.ErrUnavailable)
			time.Sleep(time.Second)
		}
		if got := strings.Count(log.String(), "revocation check failed"); got != 10 {
			t.Errorf("%d records in 10 minutes, want 10", got)
		}
	})
}

// A server may echo any part of what it was sent, in any place that net/http quotes.
func TestFailuresShowNoPartOfAToken(t *testing.T) {
	secret := token()
	middle := len(secret) / 2
	for name, echo := range map[string]string{
		"all": secret, "a half": secret[middle:], "the other half": secret[:middle], "without its beginning": secret[20:], "without its end": secret[:len(secret)-20],
		"its claims": parts(secret)[1], "its signature": parts(secret)[2], "a part of its signature": parts(secret)[2][7:60], "in another case": strings.ToUpper(secret[50:]),
		"escaped": strings.ReplaceAll(secret[50:], "-", "%2D"), "in base64": b64([]byte(secret[51:])),
	} {
		c := newCourt()
		var log bytes.Buffer
		v := c.verifier(t, onChecks(c, func(*http.Request) (*http.Response, error) {
			return nil, errors.New("malformed header: " + echo + " end")
		}), func(cfg *verify.Config) { cfg.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		_, err := v.Verify(t.Context(), secret)
		text := fmt.Sprint(err, log.String())
		if !errors.Is(err, verify.ErrUnavailable) || !strings.Contains(text, "malformed header: ") || !strings.Contains(text, " end") {
			t.Errorf("%s: error without what the server did", name)
		}
		for i := 0; i+12 <= len(echo); i++ {
			if strings.Contains(text, echo[i:i+12]) {
				t.Errorf("%s: 12 characters of the token are shown", name)
				break
			}
		}
	}
}
