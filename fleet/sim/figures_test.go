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

var figuresFile = flag.String("figures", "", "the `file` for the results of some trials, of the real code and the model, as JSON (TestFigures)")

// TestFigures writes a file for cmd/simulate. It is a test because only a test can
// have a testing/synctest bubble.
func TestFigures(t *testing.T) {
	if *figuresFile == "" {
		t.Skip("only with -figures")
	}
	var list []Figures
	for _, c := range []trial{
		{ColdStart, Nothing, 200, false}, {ColdStart, Nothing, 1000, false}, {ColdStart, Nothing, 3000, false}, {ColdStart, Leases, 1000, false},
		{Renewal, Nothing, 1000, false}, {Unavailable, Nothing, 1000, false}, {Unavailable, Leases, 1000, false}, {NoConnection, Leases, 1000, false},
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
