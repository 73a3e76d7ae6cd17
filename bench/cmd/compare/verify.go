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
	f := &findings{title: "What verifying a token costs an API", text: fmt.Sprintf(`
One request with a good token, with 3 permissions and signed with RS256 and 2048 bits, through a handler that verifies it and one that looks for a
permission in its claims: `+"`BenchmarkVerify`"+`. All have the key, and check signature, algorithm, issuer, audience and times. verify
does so for each of its tenants, and also rejects duplicate names and base64url that is not canonical. golang-jwt runs in the smallest
handler that its users write. Most of the time is spent on the RSA signature. Ratios are medians over %d rounds.`, size.microRounds)}
	c.fill(f, peers.JWT)
	toJWT, shown := c.ratio(peers.JWT)
	f.aim(toJWT <= 1.1, "at most 1.1 of golang-jwt's time", "%s", shown)
	values := map[string]float64{}
	for _, p := range c.peers {
		values[p.Name] = median(c.of(p, "serial").ns)
	}
	f.rank("verifying, serial", func(v float64) string { return fmt.Sprintf("%.0f ns", v) }, values)
	plot, err := c.plot("verify.svg", "Verify")
	f.plots = append(f.plots, plot)
	return f, err
}
