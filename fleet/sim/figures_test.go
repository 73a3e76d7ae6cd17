// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"encoding/json"
	"flag"
	"os"
	"testing"
	"time"
)

var figuresFile = flag.String("figures", "", "the `file` to write what the real code and the model made of some trials to, as JSON (TestFigures)")

// TestFigures is for cmd/simulate, which shows what it writes: a bubble of
// testing/synctest is to be had in a test only.
func TestFigures(t *testing.T) {
	if *figuresFile == "" {
		t.Skip("only with -figures")
	}
	var list []Figures
	for _, c := range []trial{
		{ColdStart, Nothing, 200}, {ColdStart, Nothing, 1000}, {ColdStart, Nothing, 3000}, {ColdStart, Leases, 1000},
		{Renewal, Nothing, 1000}, {Unavailable, Nothing, 1000}, {Unavailable, Leases, 1000}, {NoConnection, Leases, 1000},
	} {
		f := Figures{Story: c.story, Sharing: c.sharing, Processes: c.processes}
		s := c.scenario(1)
		began := time.Now()
		f.Code = play(t, s)
		f.Took = time.Since(began)
		f.Model = Run(s)
		list = append(list, f)
	}
	data, err := json.Marshal(list)
	if err == nil {
		err = os.WriteFile(*figuresFile, data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
