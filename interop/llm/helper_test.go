// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package llm_test uses the SDKs of language models with gateways that accept delegation
// tokens.
package llm_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
)

// gateway answers like a model: with answer, or with a stream of two events, the second
// one once next is closed.
type gateway struct {
	answer string
	events [2]string
	next   chan struct{}
}

func (g gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if !bytes.Contains(body, []byte(`"stream":true`)) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, g.answer)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprint(w, g.events[0])
	http.NewResponseController(w).Flush()
	select {
	case <-g.next:
		fmt.Fprint(w, g.events[1])
	case <-r.Context().Done():
	}
}

// overloaded always answers 503. The SDKs obey Retry-After-Ms.
var overloaded = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Retry-After-Ms", "1")
	http.Error(w, "overloaded", http.StatusServiceUnavailable)
})
