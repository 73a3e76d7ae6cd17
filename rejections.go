// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import "github.com/authsec-go/authsec/internal/lifecycle"

// maxBudgets limits the budgets for the fetches that APIs' rejections cause. Further
// APIs share the budget of Source.Renew.
const maxBudgets = 32

// note records a new call. It sets Began, and counts a rejection.
func (s *Source) note(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	c.Began = now.Mono
	if c.Rejected == noID {
		return
	}
	if !c.Widen {
		s.stats.Rejections++
		if !s.life.Token.Good(now) || s.life.Token.ID == c.Rejected {
			s.rejected = c.Rejected
		}
	}
	key := s.budgetOf(now, c.budget())
	s.budgets[key] = s.budgets[key].Reject(now)
}

// mayFetch reports whether the budget of the API that rejected a token allows a fetch.
// It is called before each decision, because another call may spend the budget while c
// waits. mu is held.
func (s *Source) mayFetch(now lifecycle.Moment, c call) bool {
	return c.Rejected != noID && s.budgets[s.budgetOf(now, c.budget())].Allows(now) &&
		(!c.Widen || s.budgets[s.budgetOf(now, c.host)].Allows(now))
}

// budget is the key of the budget that a call may spend. A renewal for wider
// permissions spends a budget of its own. It needs the API's budget to allow a fetch,
// but does not spend it.
func (c call) budget() string {
	if c.Widen {
		return "scope " + c.host
	}
	return c.host
}

// budgetOf returns the key of host's budget, or "" for the shared one. mu is held.
func (s *Source) budgetOf(now lifecycle.Moment, host string) string {
	if s.budgets == nil {
		s.budgets = map[string]lifecycle.Budget{}
	}
	if _, ok := s.budgets[host]; ok || len(s.budgets) < maxBudgets {
		return host
	}
	for other, b := range s.budgets {
		if b.Idle(now) {
			delete(s.budgets, other)
		}
	}
	if len(s.budgets) < maxBudgets {
		return host
	}
	return ""
}
