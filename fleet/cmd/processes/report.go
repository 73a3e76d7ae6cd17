// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/authsec-go/authsec/fleet/internal/agent"
)

// The marks before and after the section in a page.
const (
	beginMark = "<!-- processes -->"
	endMark   = "<!-- /processes -->"
)

// maxSpread is how long after the server's first 200 all must have the token.
const maxSpread = 2 * time.Second

// aim is what a peer must do, and whether it did.
type aim struct {
	want, got string
	met       bool
}

// aims returns the aims for authsec. There are none for the others.
func (o *outcome) aims() []aim {
	if o.peer == agent.OAuth2 || o.peer == agent.Loop {
		return nil
	}
	last := o.phases[len(o.phases)-1]
	failed := fmt.Sprint(o.failures)
	if o.failures > 0 {
		failed += ", the last with: " + o.failure
	}
	all := []aim{
		{"no failed call", failed, o.failures == 0},
		{"no agent gets an older token again", fmt.Sprint(o.back), o.back == 0},
		{"all have the last delegation's token", fmt.Sprintf("%d of %d", last.holders, o.size.agents), last.holders == o.size.agents},
	}
	if !o.shares {
		unavoidable := max(0, o.size.agents-o.size.limit)
		return append(all,
			aim{"at the start no process gets two 429s", fmt.Sprintf("%d in all", o.phases[0].limited), o.phases[0].limited <= unavoidable},
			aim{"the limit is never exceeded in two windows in a row", fmt.Sprintf("%d in a row", o.exceedRow), o.exceedRow < 2},
		)
	}
	once := true
	for _, p := range o.phases {
		once = once && p.given == 1 && p.limited == 0 && p.other == 0
	}
	return append(all,
		aim{"one request at the start and one at each renewal", o.requests(0) + ", then " + o.renewed(), once},
		aim{fmt.Sprintf("all have it within %v of the server's first 200", maxSpread),
			fmt.Sprintf("%v, and %d without one", o.spread.Round(time.Millisecond), o.without), o.without == 0 && o.spread <= maxSpread},
	)
}

// requests describes a phase's requests by their answers.
func (o *outcome) requests(k int) string {
	p := o.phases[k]
	s := fmt.Sprint(p.given)
	if p.limited > 0 {
		s += fmt.Sprintf(" and %d × 429", p.limited)
	}
	if p.other > 0 {
		s += fmt.Sprintf(" and %d others", p.other)
	}
	return s
}

// renewed describes the requests of each renewal.
func (o *outcome) renewed() string {
	var list []string
	for k := 1; k < len(o.phases); k++ {
		list = append(list, o.requests(k))
	}
	return strings.Join(list, "; ")
}

// section writes the results.
func section(outcomes []*outcome, began time.Time, took time.Duration) string {
	var b strings.Builder
	if len(outcomes) == 0 {
		return "no peer was measured"
	}
	s := outcomes[0].size
	fmt.Fprintf(&b, `## Real processes

This section is written by a command that takes about %d minutes and needs redis-server:

`+"```sh\ngo run -C fleet ./cmd/processes\n```"+`

Measured %s on %d cores, %s/%s, %s. For each line, %d processes of one agent begin at the same moment on one machine. Each asks for its
token every 50 ms, and 1 s after a failed call. authsec's calls have a late deadline, so that they wait out a 429. The plain loop is hand-written:
it asks the server if it has no token or an expired one. x/oauth2 is ReuseTokenSourceWithExpiry over the same request. The server is on loopback and
allows %d requests in %v from one address. The admin delegates again shortly before renewals may begin.

| | all had the token after | after the server's first 200 | requests at the start | at each renewal | failed calls | longest time without a token | windows over the limit | in a row |
|---|---|---|---|---|---|---|---|---|
`, int(took.Minutes()+1), began.UTC().Format("2006-01-02 15:04 UTC"), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version(), s.agents, s.limit, s.window)
	for _, o := range outcomes {
		name, all, spread := o.peer, seconds(o.all), seconds(o.spread)
		if strings.HasPrefix(name, "authsec") {
			name = "**" + name + "**"
		}
		if o.without > 0 {
			all, spread = fmt.Sprintf("%d never had one", o.without), "–"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %d | %s | %d | %d |\n",
			name, all, spread, o.requests(0), o.renewed(), o.failures, seconds(o.longest), o.exceeded, o.exceedRow)
	}
	b.WriteString(`
Without a cache, a process of authsec that got a 429 asks again once, after one to two windows. Loops that ask every second have the token sooner.
Until then, they and everybody else behind their address get 429s.

Renewals begin at a different time in each line. With a cache, they begin soon. Without one, they begin when the requests of the start no longer count for
the limit. Those of authsec begin early enough that the processes' random moments stay below the limit.

`)
	for _, o := range outcomes {
		fmt.Fprintf(&b, "- %s: %s after a delegation, which is %s before its token's expiry", o.peer, seconds(o.life), seconds(o.early))
		if o.cacheFailures > 0 {
			fmt.Fprintf(&b, "; %d uses of the cache failed (%s)", o.cacheFailures, o.cacheError)
		}
		b.WriteString(".\n")
	}
	b.WriteString("\n| aim | measured | |\n|---|---|---|\n")
	for _, o := range outcomes {
		for _, a := range o.aims() {
			met := "met"
			if !a.met {
				met = "**missed**"
			}
			fmt.Fprintf(&b, "| %s: %s | %s | %s |\n", o.peer, a.want, a.got, met)
		}
	}
	return b.String()
}

// seconds writes a duration in seconds, or in milliseconds if it is under a second.
func seconds(d time.Duration) string {
	if d > 0 && d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.3g s", d.Seconds())
}

// writeInto writes text between the marks of a page. A missing page is no error: the
// text was printed.
func writeInto(page, text string) error {
	old, err := os.ReadFile(page)
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(os.Stderr, "%s does not exist: it is not written\n", page)
		return nil
	}
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(old), beginMark)
	_, after, ok2 := strings.Cut(rest, endMark)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no %s with a %s after it", page, beginMark, endMark)
	}
	return os.WriteFile(page, []byte(before+beginMark+"\n\n"+text+"\n"+endMark+after), 0o644)
}
