// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package share

import "time"

// Want is what a process knows when it begins a fetch, and so what an entry must
// say to be the result of that fetch. Times are on the server's clock.
type Want struct {
	Known    time.Time     // the server's latest answer that this process has used; zero: none
	Token    string        // in service and good; "": none
	Rejected string        // the latest token that an API rejected; "": none
	Cause    string        // the token whose rejection caused the fetch; "": none did
	Refresh  bool          // the server is to be asked, whatever is known
	Within   time.Duration // an answer that says nothing new counts if it is no older than this

	own    time.Time     // the server's clock, as far as is known without the entry
	waited time.Duration // since the fetch began
}

const (
	// slack is how far two processes may differ about the server's clock: its
	// Date has whole seconds.
	slack = 2 * time.Second

	// maxCold is how long a process without a token uses another's failure. One
	// that has a token may wait longer.
	maxCold = time.Minute
)

// Look sets, before an entry is judged, what the server's clock reads as far as
// is known without the entry, and how long the fetch has lasted.
func (w *Want) Look(own time.Time, waited time.Duration) { w.own, w.waited = own, waited }

// recent reports whether something was said no longer than within before the
// fetch began, or since. An entry from the future shows that clocks differ, and
// nothing about when it was written.
func (w *Want) recent(said time.Time, within time.Duration) bool {
	age := w.own.Sub(said)
	return age > -slack && age <= within+w.waited
}

// Accepts reports whether the token response in e, with this token, is the result.
func (w *Want) Accepts(e Entry, token string) bool {
	cold := w.Token == ""
	switch {
	case !e.Answered.After(w.Known):
		return cold && !w.Refresh && token != w.Rejected
	case w.Refresh:
		return w.recent(e.Answered, 0)
	case cold: // the server gave it out since the rejection, if it is the rejected one
		return true
	case token == w.Token || token == w.Rejected:
		return w.recent(e.Answered, w.Within)
	}
	return true
}

// Fails reports whether the failure in e is the result. now is the server's clock,
// as far as is known with e.
func (w *Want) Fails(e Entry, now time.Time) bool {
	f := e.Failure
	if f == nil || !f.Told.After(w.Known) || f.Told.Before(e.Answered) {
		return false
	}
	age := now.Sub(f.Told)
	switch {
	case w.Refresh:
		return w.recent(f.Told, 0)
	case age < f.RetryAfter: // holds for all processes
		return true
	case w.Cause != "":
		return w.recent(f.Told, w.Within)
	case w.Token == "":
		return age < min(f.Hold, maxCold)
	}
	return age < f.Hold
}
