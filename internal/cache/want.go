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

	first  time.Time // the last word of the first entry seen
	looked bool
}

// Look takes note of an entry before it is judged. What comes after the first was
// said while the process waited for it.
func (w *Want) Look(e Entry) {
	if !w.looked {
		w.first, w.looked = e.Last(), true
	}
}

// Accepts reports whether the good answer of e, with this token, is the result.
func (w *Want) Accepts(e Entry, token string, now time.Time) bool {
	cold := w.Token == ""
	switch {
	case !e.Answered.After(w.Known):
		return cold && !w.Forced && token != w.Refused
	case w.awaited(e.Answered):
		return true
	case w.Forced:
		return false
	case cold: // given out since the refusal, should it be the refused one
		return true
	case token == w.Token || token == w.Refused:
		return now.Sub(e.Answered) < w.Within
	}
	return true
}

// Fails reports whether the failure in e is the result.
func (w *Want) Fails(e Entry, now time.Time) bool {
	f := e.Failure
	if f == nil || !f.Told.After(w.Known) || f.Told.Before(e.Answered) {
		return false
	}
	age := now.Sub(f.Told)
	switch {
	case w.awaited(f.Told):
		return true
	case w.Forced:
		return false
	case age < f.RetryAfter: // what the server wishes, it wishes of all
		return true
	case w.Cause != "":
		return age < w.Within
	}
	return age < f.Hold
}

// awaited reports whether something was said after the first look.
func (w *Want) awaited(said time.Time) bool { return w.looked && said.After(w.first) }
