// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package cache

import "time"

// Want is what a process knows when it begins a fetch, and so what an entry must
// tell to be the fetch's result. Times are on the server's clock.
type Want struct {
	Known   time.Time     // the server's last word that the process has taken; zero: none
	Token   string        // in service and good; "": none
	Refused string        // the last token that an API refused; "": none
	Cause   string        // the token whose refusal is the fetch's cause; "": none is
	Forced  bool          // the server is to be asked, whatever is known
	Within  time.Duration // a word that tells nothing new counts, if it is no older than this

	own    time.Time     // what the server's clock reads, as far as is known without the entry
	waited time.Duration // since the fetch began
}

const (
	// slack is by how much two processes may differ on the server's clock, whose
	// Date has whole seconds.
	slack = 2 * time.Second

	// maxCold is for how long a process that has no token heeds a failure of
	// another: one that has a token may rest for longer.
	maxCold = time.Minute
)

// Look takes note, before an entry is judged, of what the server's clock reads as
// far as is known without it, and of how long the fetch has lasted.
func (w *Want) Look(own time.Time, waited time.Duration) { w.own, w.waited = own, waited }

// recent reports whether something was said no longer than within before the
// fetch began, or since. An entry from the future shows clocks that differ, and
// nothing about when it was.
func (w *Want) recent(said time.Time, within time.Duration) bool {
	age := w.own.Sub(said)
	return age > -slack && age <= within+w.waited
}

// Accepts reports whether the good answer of e, with this token, is the result.
func (w *Want) Accepts(e Entry, token string) bool {
	cold := w.Token == ""
	switch {
	case !e.Answered.After(w.Known):
		return cold && !w.Forced && token != w.Refused
	case w.Forced:
		return w.recent(e.Answered, 0)
	case cold: // given out since the refusal, should it be the refused one
		return true
	case token == w.Token || token == w.Refused:
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
	case w.Forced:
		return w.recent(f.Told, 0)
	case age < f.RetryAfter: // what the server wishes, it wishes of all
		return true
	case w.Cause != "":
		return w.recent(f.Told, w.Within)
	case w.Token == "":
		return age < min(f.Hold, maxCold)
	}
	return age < f.Hold
}
