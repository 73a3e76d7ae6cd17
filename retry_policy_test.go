// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/authsec-go/authsec/internal/wire"
)

func TestRetryPolicyDefaultsAgreeWithEachOther(t *testing.T) {
	for _, c := range []struct{ in, want RetryPolicy }{
		{RetryPolicy{}, RetryPolicy{4, 200 * time.Millisecond, 10 * time.Second}},
		{RetryPolicy{MaxAttempts: 1}, RetryPolicy{1, 200 * time.Millisecond, 10 * time.Second}},
		{RetryPolicy{MinBackoff: time.Minute}, RetryPolicy{4, time.Minute, time.Minute}},
		{RetryPolicy{MaxBackoff: time.Millisecond}, RetryPolicy{4, time.Millisecond, time.Millisecond}},
		{RetryPolicy{9, 1, 2}, RetryPolicy{9, 1, 2}},
	} {
		if got := c.in.withDefaults(); got != c.want {
			t.Errorf("%+v: got %+v, want %+v", c.in, got, c.want)
		}
	}
}

// A wait is at least what Retry-After says, and at most MaxBackoff.
func FuzzRetryWait(f *testing.F) {
	for _, after := range []string{"", "0", "120", " 5 ", "9223372037", "-1", "Tue, 24 Nov 2026 08:00:30 GMT"} {
		f.Add(after, "Tue, 24 Nov 2026 08:00:00 GMT", 1)
	}
	f.Fuzz(func(t *testing.T, after, date string, made int) {
		policy := RetryPolicy{MaxAttempts: 10, MinBackoff: time.Second, MaxBackoff: time.Minute}
		h := http.Header{"Retry-After": {after}, "Date": {date}}
		least, _ := wire.RetryAfter(h)
		wait, again := policy.next(context.Background(), made, &http.Response{StatusCode: 503, Header: h}, nil)
		switch {
		case again != (made < 10 && least <= time.Minute) && date != "":
			t.Errorf("after %d attempts, Retry-After %v: got another attempt %t", made, least, again)
		case wait < 0 || wait > policy.MaxBackoff || again && wait < least:
			t.Errorf("Retry-After %v: got a wait of %v, want at least that and at most %v", least, wait, policy.MaxBackoff)
		}
	})
}
