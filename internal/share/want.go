// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package share

import "time"

// Want is what a process knows when it begins a fetch. It decides whether an entry is
// the result of that fetch. Times are on the server's clock. Tokens are named by IDs,
// which are equal for equal tokens.
type Want struct {
	Known    time.Time     // when the latest answer in use was asked for; zero: none
	Token    string        // in service and good; "": none
	Rejected string        // the latest token that an API rejected; "": none
	Cause    string        // the token whose rejection caused the fetch; "": none did
	Refresh  bool          // only an answer since the fetch began counts
	Within   time.Duration // an answer without another token may be this much older than the fetch

	own    time.Time     // an estimate of the time that does not use the entry
	waited time.Duration // since the fetch began
}

const (
	// slack is how far two processes' estimates of the server's clock may differ: its
	// Date has whole seconds.
	slack = 2 * time.Second

	// maxCold caps how long a process without a token uses another's failure. A
	// process with a token may use it longer.
	maxCold = time.Minute
)

// Look sets an estimate of the time that does not use the entry, and how long the fetch
// has lasted. The caller calls it before Accepts and Fails.
func (w *Want) Look(own time.Time, waited time.Duration) { w.own, w.waited = own, waited }

// recent reports whether an answer was asked for after the fetch began, or before it by
// no more than within. A time in the future is not recent: it only shows that clocks differ.
func (w *Want) recent(said time.Time, within time.Duration) bool {
	age := w.own.Sub(said)
	return age > -slack && age <= within+w.waited
}

// Accepts reports whether the token response in e, whose token has this ID, is the
// result of the fetch.
func (w *Want) Accepts(e Entry, token string) bool {
	cold := w.Token == ""
	switch {
	case !e.Answered.After(w.Known):
		return cold && !w.Refresh && token != w.Rejected
	case w.Refresh:
		return w.recent(e.Answered, 0)
	case cold: // also the rejected token: the server returned it again after the rejection
		return true
	case token == w.Token || token == w.Rejected:
		return w.recent(e.Answered, w.Within)
	}
	return true
}

// Fails reports whether the failure in e is the result of the fetch. now is an estimate
// of the time that uses e.
func (w *Want) Fails(e Entry, now time.Time) bool {
	f := e.Failure
	if f == nil || !f.Told.After(w.Known) || f.Told.Before(e.Answered) {
		return false
	}
	age := now.Sub(f.Told)
	switch {
	case w.Refresh:
		return w.recent(f.Told, 0)
	case age < f.RetryAfter: // it applies to all processes
		return true
	case w.Cause != "":
		return w.recent(f.Told, w.Within)
	case w.Token == "":
		return age < min(f.Hold, maxCold)
	}
	return age < f.Hold
}
