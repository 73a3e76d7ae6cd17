// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/authsec-go/authsec/internal/bearer"
	"github.com/authsec-go/authsec/internal/cache"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"
)

const (
	endpointPath   = "authsec/uflow/sdk/delegation-token"
	attemptTimeout = 10 * time.Second // for one request to the endpoint, its body included
	maxAnswer      = 1 << 20          // bytes of an answer
	maxToken       = 16 << 10         // bytes of a token; servers commonly take headers of no more
	maxRetryAfter  = 5 * time.Minute  // that a server can keep a Source from asking
	defaultWindow  = time.Minute      // of the server's limit, where a 429 does not name it
	nbfLeeway      = 5 * time.Second
	maxTTL         = 100 * 365 * 24 * time.Hour
)

// asymmetric are the algorithms with which a token's signature may be
// verified (RFC 7518, section 3.1; RFC 8037): those whose verification key can't sign.
var asymmetric = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// endpoint asks an AuthSec server for an agent's delegation token, each time
// anew. It is immutable.
type endpoint struct {
	url        string // what is asked, with the client ID
	shown      string // what may be shown of it
	clientID   string
	agent      string // what may be shown of clientID
	transport  http.RoundTripper
	timeout    time.Duration // of one attempt
	credential oauth2.TokenSource
	keyfunc    jwt.Keyfunc
	audience   string
	retry      RetryPolicy
}

func newEndpoint(cfg Config, base *url.URL) *endpoint {
	u := base.JoinPath(endpointPath)
	e := &endpoint{
		shown:      shorten(u.String(), cfg.ClientID),
		clientID:   cfg.ClientID,
		agent:      shortID(cfg.ClientID),
		timeout:    attemptTimeout,
		credential: cfg.Credential,
		keyfunc:    cfg.Keyfunc,
		audience:   cfg.Audience,
		retry:      cfg.Retry,
	}
	u.RawQuery = url.Values{"client_id": {cfg.ClientID}}.Encode()
	e.url = u.String()
	if cfg.HTTPClient == nil {
		e.transport = defaultEndpointTransport()
		return e
	}
	if e.transport = cfg.HTTPClient.Transport; e.transport == nil {
		e.transport = http.DefaultTransport
	}
	if t := cfg.HTTPClient.Timeout; t > 0 {
		e.timeout = min(e.timeout, t)
	}
	return e
}

// defaultEndpointTransport is shared by all Sources without an HTTPClient. A
// fetch comes once in minutes: connections are kept for its retries alone.
var defaultEndpointTransport = sync.OnceValue(func() http.RoundTripper {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		t = &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	}
	t = t.Clone()
	t.TLSHandshakeTimeout = attemptTimeout
	t.IdleConnTimeout = 15 * time.Second
	return t
})

// grant is what a good answer amounts to. It is immutable.
type grant struct {
	token      *oauth2.Token
	delegation *Delegation
	received   time.Time     // with its monotonic reading
	life       time.Duration // from received on
	notAfter   time.Time     // on the server's clock; zero: it told a time to live only
	told       time.Time     // when it was given, on the server's clock
	cached     bool          // it came from Config.Cache
}

// fetch asks for the token. Its errors are *Error. Where the answer had a token
// that is past its expiry, it returns both an error and the grant. The reply is
// the server's; nil: there is none.
func (e *endpoint) fetch(ctx context.Context) (*grant, *reply, error) {
	authorization, err := e.authorization(ctx)
	if err != nil {
		return nil, nil, err
	}
	a := &endpointAttempts{endpoint: e, ctx: ctx, authorization: authorization}
	resp, err := a.send()
	if err != nil || passing(resp.StatusCode) {
		_, err = e.retry.retry(ctx, resp, err, a)
	}
	if err != nil {
		text := fmt.Sprintf("authsec: no token for agent %s: %s did not answer: %s", e.agent, e.shown, e.clean(err.Error(), authorization))
		return nil, nil, newError(text, withoutURL(err))
	}
	if a.last.status != http.StatusOK {
		return nil, a.last, e.refusal(a.last)
	}
	g, err := e.read(a.last)
	return g, a.last, err
}

// authorization is the Authorization header's value, or "".
func (e *endpoint) authorization(ctx context.Context) (value string, err error) {
	if e.credential == nil {
		return "", nil
	}
	fail := func(what string, cause error) (string, error) {
		return "", newError(fmt.Sprintf("authsec: no token for agent %s: Config.Credential %s", e.agent, what), cause)
	}
	defer func() {
		if v := recover(); v != nil {
			value, err = fail("panicked: "+panicText(v), nil)
		}
	}()
	var token *oauth2.Token
	if c, ok := e.credential.(contextSource); ok {
		token, err = c.TokenContext(ctx)
	} else {
		token, err = e.credential.Token()
	}
	switch {
	case err != nil:
		if re := (*oauth2.RetrieveError)(nil); errors.As(err, &re) {
			// Its text is another server's answer, with who knows what in it; and it
			// is not to be taken for this one's.
			return fail("failed: "+redact(retrieveText(re), e.clientID), concealed{err})
		}
		return fail("failed: "+redact(err.Error(), e.clientID), err)
	case token == nil || token.AccessToken == "":
		return fail("returned no token", nil)
	case !isHeaderSafe(token.AccessToken) || !isHeaderSafe(token.Type()):
		return fail("returned a token that no header can hold", nil)
	}
	return token.Type() + " " + token.AccessToken, nil
}

// retrieveText is what may be shown of a Credential's own failure.
func retrieveText(re *oauth2.RetrieveError) string {
	text := "its token endpoint refused"
	if re.Response != nil {
		text = "its token endpoint answered " + statusText(re.Response.StatusCode)
	}
	if re.ErrorCode != "" {
		text += ": " + re.ErrorCode
	}
	return text
}

// concealed is an error that errors.Is sees, but neither errors.As nor a print.
type concealed struct{ err error }

func (c concealed) Error() string        { return "authsec: an error with contents that are not shown" }
func (c concealed) Is(target error) bool { return errors.Is(c.err, target) }

// clean makes foreign text of a fetch with this Authorization fit to be printed.
func (e *endpoint) clean(text, authorization string, secrets ...string) string {
	_, credential, _ := strings.Cut(authorization, " ")
	return redact(text, e.clientID, append(secrets, credential)...)
}

// withoutURL returns what lies below the *url.Errors in err, whose URL has the
// client ID in it.
func withoutURL(err error) error {
	for e := (*url.Error)(nil); errors.As(err, &e) && e.Err != nil; {
		err = e.Err
	}
	return err
}

// panicText is what may be shown of a value that foreign code panicked with:
// only the runtime's own errors are sure to hold no secret.
func panicText(v any) string {
	if err, ok := v.(interface {
		error
		RuntimeError()
	}); ok {
		return err.Error()
	}
	return fmt.Sprintf("%T", v)
}

// reply is an answer as it came, read whole.
type reply struct {
	status   int
	header   http.Header
	body     []byte
	tooLong  bool
	sent     time.Time
	received time.Time // when its header came

	age        time.Duration // how old it was then
	correction time.Duration // what to add to the local clock to have the server's

	authorization string // what it was asked with
	cached        bool   // it came from Config.Cache
}

// told is the moment that the answer speaks of, on the server's clock: when it was
// asked for. What an admin did since may not be in it.
func (r *reply) told() time.Time {
	return r.received.Round(0).Add(r.correction - r.age - r.received.Sub(r.sent))
}

// endpointAttempts are the attempts of one fetch.
type endpointAttempts struct {
	endpoint      *endpoint
	ctx           context.Context
	authorization string
	last          *reply // the last attempt's; nil if it was not answered
}

// prepare refuses to ask again a server that has said it was asked too often.
func (a *endpointAttempts) prepare() bool {
	return a.last == nil || a.last.status != http.StatusTooManyRequests
}

func (a *endpointAttempts) abandon() {}

// send makes one request and reads its answer into a.last.
func (a *endpointAttempts) send() (*http.Response, error) {
	e := a.endpoint
	a.last = nil
	ctx, cancel := context.WithTimeout(a.ctx, e.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url, nil)
	if err != nil {
		return nil, err
	}
	req.Header = http.Header{
		"Accept":        {"application/json"},
		"Cache-Control": {"no-cache, no-store"},
		"User-Agent":    {"authsec-go/" + version},
		"X-Client-Id":   {e.clientID},
	}
	if a.authorization != "" {
		req.Header.Set("Authorization", a.authorization)
	}
	r := &reply{sent: time.Now(), authorization: a.authorization}
	resp, err := e.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	r.received = time.Now()
	if resp == nil {
		return nil, errors.New("HTTPClient's Transport returned neither a response nor an error")
	}
	if resp.Body != nil {
		defer resp.Body.Close()
		r.body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
		if err != nil && resp.StatusCode == http.StatusOK {
			return nil, fmt.Errorf("its answer broke off: %w", err)
		}
	}
	if r.tooLong = len(r.body) > maxAnswer; r.tooLong {
		r.body = r.body[:maxAnswer]
	}
	r.status, r.header = resp.StatusCode, resp.Header
	var date time.Time
	date, r.age = r.clock()
	r.correction = clockCorrection(date, r.age, r.sent, r.received)
	a.last = r
	// The retry loop decides by status and header; the body is in r.
	return &http.Response{StatusCode: r.status, Header: r.header, Body: http.NoBody}, nil
}

// object decodes a body that is one JSON object. Of fields given twice the
// last counts, and their names are exact.
func (r *reply) object() (map[string]any, error) {
	if r.tooLong {
		return nil, fmt.Errorf("it is longer than %d bytes", maxAnswer)
	}
	dec := json.NewDecoder(bytes.NewReader(r.body))
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		return nil, errors.New("it is not a JSON object")
	}
	if m == nil {
		return nil, errors.New("it is not a JSON object")
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("something follows its JSON object")
	}
	return m, nil
}

// refusal is the error of an answer whose status is not 200.
func (e *endpoint) refusal(r *reply) *Error {
	fields, _ := r.object()
	field := func(name string) string { s, _ := fields[name].(string); return s }
	clean := func(s string) string { return e.clean(s, r.authorization, field("token")) }
	said, details := field("error"), clean(field("details"))
	message := clean(said)
	// Of the body only what was understood is shown: pages of proxies hold
	// anything, in any encoding.
	var shown []byte
	if message != "" {
		shown, _ = json.Marshal(map[string]string{"error": message, "details": details})
	}

	answer := statusText(r.status)
	if message != "" {
		answer += ": " + message
	}
	prefix := "authsec: no token for agent " + e.agent + ": "
	fail := func(noDelegation bool, text string, sentinels ...error) *Error {
		err := newError(prefix+text+" ("+answer+")", sentinels...).answered(r.status, shown)
		err.Message, err.Details, err.noDelegation, err.told = message, details, noDelegation, r.told()
		if after, ok := retryAfter(r.header); ok {
			err.RetryAfter = min(after, maxRetryAfter)
		}
		return err
	}
	const delegate = "an admin must delegate to it in the AuthSec console"
	switch {
	case r.status >= 300 && r.status < 400 && r.header.Get("Location") != "":
		return fail(false, fmt.Sprintf("%s redirects to %s, and redirects are not followed: set the base URL to the server itself", e.shown, e.location(r.header.Get("Location"), clean)), ErrInvalidResponse)
	case r.status == http.StatusBadRequest && strings.Contains(said, "client_id"):
		return fail(false, "the server does not accept its client ID", ErrInvalidClientID)
	case r.status == http.StatusUnauthorized || r.status == http.StatusForbidden:
		if e.credential == nil {
			return fail(false, "the server wants a credential of the caller: set Config.Credential, or "+envAPIToken+" in the environment", ErrUnauthorized)
		}
		return fail(false, "the server refused Config.Credential's token", ErrUnauthorized)
	case r.status == http.StatusNotFound && said == "No active delegation token found":
		return fail(true, "it has no delegation, or it was revoked or has expired: "+delegate, ErrNotDelegated)
	case r.status == http.StatusNotFound && said == "Client not found":
		return fail(false, "the server does not know the agent: check the client ID; "+delegate+"; a server whose database is away says the same", ErrNotDelegated)
	case r.status == http.StatusGone && said != "":
		return fail(true, "its delegation has expired: "+delegate+" again", ErrDelegationExpired, ErrNotDelegated)
	case r.status == http.StatusNotFound || r.status == http.StatusGone:
		return fail(false, e.shown+" is no AuthSec endpoint: check the base URL", ErrInvalidResponse)
	case r.status == http.StatusTooManyRequests:
		err := fail(false, "the server allows no more requests for now", ErrRateLimited)
		if err.RetryAfter == 0 {
			window, parseErr := time.ParseDuration(field("window"))
			if parseErr != nil || window <= 0 {
				window = defaultWindow
			}
			window = min(window, maxRetryAfter)
			err.RetryAfter = window + jitter(window)
		}
		return err
	case r.status >= 500:
		return fail(false, e.shown+" is not able to answer for now")
	}
	return fail(false, e.shown+" gave an answer that no AuthSec server gives: check the base URL", ErrInvalidResponse)
}

// toldAnother is the error of a failure that another process of the agent was
// told a while ago. Its waits end within a second after that one's, at random.
func (e *endpoint) toldAnother(f *cache.Failure, ago time.Duration) *Error {
	body, _ := json.Marshal(map[string]string{"error": f.Message, "details": f.Details})
	err := e.refusal(&reply{status: f.Status, body: body, received: time.Now(), cached: true})
	err.text += ", as another of its processes was told"
	err.told, err.RetryAfter, err.held = f.Told, 0, 0
	spread := jitter(time.Second)
	if left := f.RetryAfter - ago; left > 0 {
		err.RetryAfter = min(left+spread, maxRetryAfter)
	}
	if left := f.Hold - ago; left > 0 {
		err.held = min(left+spread, maxRemembered)
	}
	return err
}

// location is what may be shown of where a redirect points.
func (e *endpoint) location(header string, clean func(string) string) string {
	base, err := url.Parse(e.url)
	if err != nil {
		return "an unknown place"
	}
	u, err := base.Parse(header)
	if err != nil {
		return "a malformed URL"
	}
	return clean((&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String())
}

// read makes a grant of an answer with status 200.
func (e *endpoint) read(r *reply) (*grant, error) {
	fail := func(format string, args ...any) *Error {
		text := fmt.Sprintf("authsec: no token for agent %s: the answer of %s can't be used: ", e.agent, e.shown) + fmt.Sprintf(format, args...)
		// The body of such an answer holds a token: none of it is shown.
		return newError(text, ErrInvalidResponse).answered(r.status, nil)
	}
	fields, err := r.object()
	if err != nil {
		return nil, fail("%v; check the base URL", err)
	}
	f := fieldReader{fields: fields}
	token := f.text("token")
	id := f.text("client_id")
	status := f.text("status")
	// What only informs is no reason to refuse a token.
	lenient := fieldReader{fields: fields}
	d := &Delegation{
		SPIFFEID:    lenient.text("spiffe_id"),
		Permissions: f.list("permissions"),
		Audience:    f.list("audience"),
		ClientID:    id,
		TenantID:    cmp.Or(lenient.text("tenant_id"), lenient.text("workspace_id")),
		Status:      status,
		IssuedAt:    lenient.time("issued_at"),
		UpdatedAt:   lenient.time("updated_at"),
	}
	notAfter := f.time("expires_at")
	if notAfter.IsZero() && f.text("expires_at") != "" {
		notAfter = time.Unix(0, 0) // the year 1, as Go writes a time that was not set, is past
	}
	ttl := f.seconds("ttl_seconds")
	switch {
	case f.fault != "":
		return nil, fail("its %s", f.fault)
	case token == "":
		return nil, fail("it has no token")
	case len(token) > maxToken:
		return nil, fail("its token is longer than %d bytes", maxToken)
	case !bearer.IsToken(token):
		return nil, fail("its token has characters that no bearer token has (RFC 6750, section 2.1)")
	case status != "" && status != "active":
		return nil, fail("its status is %q, not active", cut(e.clean(status, r.authorization, token), 40))
	}

	claims, err := parseClaims(token)
	if e.keyfunc != nil {
		claims, err = e.verify(token, r.received.Round(0).Add(r.correction))
	}
	switch {
	case err != nil && e.keyfunc != nil:
		return nil, fail("its token does not verify: %s", e.clean(err.Error(), r.authorization, token))
	case err != nil && e.audience != "":
		return nil, fail("its token is no JWT, so it can't name the audience %q", e.audience)
	case err != nil: // an opaque token
		claims = new(Claims)
	case e.audience != "" && !slices.Contains(claims.Audience, e.audience):
		return nil, fail("its token is not for the audience %q", e.audience)
	}
	for _, other := range []string{id, claims.ClientID} {
		if other != "" && !strings.EqualFold(other, e.clientID) {
			return nil, fail("it is for another agent, %s (is there a cache in between that ignores queries?)", shortID(e.clean(other, r.authorization, token)))
		}
	}

	if exp := claims.ExpiresAt; exp != nil && (notAfter.IsZero() || exp.Before(notAfter)) {
		notAfter = exp.Time
	}
	g := &grant{received: r.received, notAfter: notAfter, told: r.told(), cached: r.cached}
	switch {
	case !notAfter.IsZero():
		g.life = notAfter.Sub(r.received.Round(0).Add(r.correction))
	case ttl > 0:
		g.life = ttl - r.age - r.received.Sub(r.sent)
	default:
		return nil, fail("neither it nor its token tells an expiry")
	}
	g.life = min(g.life, maxTTL)

	for _, name := range []string{"permissions", "audience"} {
		if v, ok := fields[name]; ok && v == nil {
			fields[name] = []any{}
		}
	}
	g.token = (&oauth2.Token{
		AccessToken: token,
		TokenType:   "Bearer",
		Expiry:      g.received.Round(0).Add(g.life),
	}).WithExtra(fields)

	d.ExpiresAt = notAfter
	d.complete(claims)
	d.ClientID = cmp.Or(d.ClientID, e.clientID)
	verified := e.keyfunc != nil
	d.claims = func() (*Claims, error) {
		c, err := parseClaims(token)
		if err == nil {
			c.Verified = verified
		}
		return c, err
	}
	g.delegation = d
	if g.life <= 0 {
		return g, fail("its token expired %v ago, by the server's clock", (-g.life).Round(time.Second))
	}
	return g, nil
}

// complete fills in what an answer left out from the token's claims.
func (d *Delegation) complete(c *Claims) {
	if d.SPIFFEID == "" && strings.HasPrefix(c.Subject, "spiffe://") {
		d.SPIFFEID = c.Subject
	}
	if d.ClientID == "" {
		d.ClientID = c.ClientID
	}
	if d.TenantID == "" {
		d.TenantID = c.TenantID
	}
	if d.IssuedAt.IsZero() && c.IssuedAt != nil {
		d.IssuedAt = c.IssuedAt.Time
	}
	if d.Permissions == nil {
		d.Permissions = append([]string{}, c.Permissions...)
	}
	if d.Audience == nil {
		d.Audience = append([]string{}, c.Audience...)
	}
}

// verify checks a token's signature, times and audience, at a moment on the
// server's clock.
func (e *endpoint) verify(token string, now time.Time) (*Claims, error) {
	options := []jwt.ParserOption{
		jwt.WithValidMethods(asymmetric),
		jwt.WithExpirationRequired(),
		jwt.WithLeeway(nbfLeeway),
		jwt.WithTimeFunc(func() time.Time { return now }),
	}
	if e.audience != "" {
		options = append(options, jwt.WithAudience(e.audience))
	}
	m := jwt.MapClaims{}
	if _, err := jwt.ParseWithClaims(token, m, e.keyfunc, options...); err != nil {
		return nil, err
	}
	return newClaims(m), nil
}

// clock reads the answer's Date (zero if there is none) and Age (RFC 9110,
// section 6.6.1; RFC 9111, section 5.1).
func (r *reply) clock() (date time.Time, age time.Duration) {
	date, err := http.ParseTime(r.header.Get("Date"))
	if err != nil {
		date = time.Time{}
	}
	seconds, err := strconv.ParseUint(strings.TrimSpace(r.header.Get("Age")), 10, 31)
	if err != nil {
		seconds = 0
	}
	return date, time.Duration(seconds) * time.Second
}

// clockCorrection returns what to add to the local clock to have the server's.
// That one read something in [date, date+1s) at a moment between sent and
// received, less age. A local clock that agrees with this stands; of the
// corrections that are possible otherwise, it is the greatest, which gives a
// token the shortest life.
func clockCorrection(date time.Time, age time.Duration, sent, received time.Time) time.Duration {
	if date.IsZero() {
		return 0
	}
	last := received.Round(0).Add(-age)
	first := last.Add(-received.Sub(sent)) // not sent's wall clock, which may have stepped
	least, greatest := date.Sub(last), date.Add(time.Second).Sub(first)
	if least <= 0 && greatest > 0 {
		return 0
	}
	return greatest
}

// fieldReader reads typed fields of a decoded JSON object. A field that is
// absent or null reads as zero; the first that has another type is the fault.
type fieldReader struct {
	fields map[string]any
	fault  string
}

func field[T any](f *fieldReader, name, want string) (v T) {
	raw := f.fields[name]
	if raw == nil {
		return v
	}
	v, ok := raw.(T)
	if !ok {
		f.fail(name, want)
	}
	return v
}

func (f *fieldReader) fail(name, want string) {
	if f.fault == "" {
		f.fault = name + " is not " + want
	}
}

func (f *fieldReader) text(name string) string { return field[string](f, name, "a string") }

// list is nil where the field is absent, and empty where it is null.
func (f *fieldReader) list(name string) []string {
	if _, ok := f.fields[name]; !ok {
		return nil
	}
	list := []string{}
	for _, v := range field[[]any](f, name, "a list") {
		s, ok := v.(string)
		if !ok {
			f.fail(name, "a list of strings")
			continue
		}
		list = append(list, s)
	}
	return list
}

func (f *fieldReader) time(name string) time.Time {
	s := f.text(name)
	if s == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		f.fail(name, "a time (RFC 3339)")
	}
	return t
}

func (f *fieldReader) seconds(name string) time.Duration {
	n := field[float64](f, name, "a number")
	return time.Duration(math.Min(math.Max(n, 0), maxTTL.Seconds()) * float64(time.Second))
}
