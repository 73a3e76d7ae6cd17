// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/authsec-go/authsec/bench/peers"
)

// measureVerify measures the other side: what a request's token costs an API.
func measureVerify(size scale) (*findings, error) {
	var list []peers.Peer
	for _, v := range peers.Verifiers {
		list = append(list, peers.Peer{Name: v.Name})
	}
	c, err := newContest("Verify", size, list)
	if err != nil {
		return nil, err
	}
	perSecond := func(name string) float64 { return 1e9 / median(c.of(peers.Peer{Name: name}, "serial").ns) }
	f := &findings{title: "What verifying a token costs an API", text: fmt.Sprintf(`
One request with a good token, with 3 permissions and signed with RS256 and 2048 bits, through a handler that verifies it and one that looks for a
permission in its claims: `+"`BenchmarkVerify`"+`. All have the key, and check signature, algorithm, issuer, audience and times. authsec's package verify
does so for each of its tenants, and also rejects duplicate names and base64url that is not canonical. It keeps the tokens that it has verified, so a token that it has
seen costs no signature check. "A new token" is verify with this switched off. golang-jwt runs in the smallest
handler that its users write. Without a cache, most of the time is spent on the RSA signature. Ratios are medians over %d rounds. One core
verifies %.0f tokens a second that were seen before, and %.0f new ones.`, size.microRounds, perSecond(peers.AuthSec), perSecond(peers.AuthSecNew))}
	c.fill(f, peers.JWT)
	known, shown := c.ratio(peers.AuthSec, peers.JWT)
	f.aim(known <= 0.05, "a token seen before: at most 0.05 of golang-jwt's time", "%s", shown)
	fresh, shown := c.ratio(peers.AuthSecNew, peers.JWT)
	f.aim(fresh <= 1.1, "a new token: at most 1.1 of golang-jwt's time", "%s", shown)
	flat := 0.0
	for _, load := range loads {
		flat = max(flat, median(ratios(c.of(c.peers[0], load).ns, c.of(c.peers[0], "serial").ns)))
	}
	f.aim(flat <= 1.25, "a token seen before: independent of the number of goroutines, within 1.25 of the serial time", "at most %.2f of it", flat)
	values := map[string]float64{}
	for _, p := range c.peers {
		values[p.Name] = median(c.of(p, "serial").ns)
	}
	f.rank("verifying, serial", func(v float64) string { return fmt.Sprintf("%.0f ns", v) }, values)
	plot, err := c.plot("verify.svg", "Verify")
	f.plots = append(f.plots, plot)
	return f, err
}
