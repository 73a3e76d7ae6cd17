// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
)

// own returns a request of the bridge itself.
func (b *bridge) own(method string, params any) (message, error) {
	b.mu.Lock()
	b.asked++
	id := fmt.Sprintf("authsec-%d", b.asked)
	b.mu.Unlock()
	raw, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": id, "method": method, "params": params})
	if err != nil {
		return message{}, err
	}
	m, bad := parse(raw)
	if bad != nil {
		return m, bad
	}
	return m, nil
}

// ask sends a request of the bridge itself, and returns the response's result.
func (b *bridge) ask(ctx context.Context, m message) (result json.RawMessage, h http.Header, err error) {
	ctx, cancel := context.WithTimeout(ctx, greetingTime)
	defer cancel()
	resp, err := b.post(ctx, m, session{})
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return nil, nil, b.statusError(ctx, resp)
	}
	take := func(data []byte) {
		a, ok := b.read(data)
		switch {
		case !ok:
		case a.kind == response && idKey(a.id) == idKey(m.id):
			if result = a.result; result == nil {
				err = fault("the server answered with an error")
			}
		default:
			b.out.write(data)
		}
	}
	if contentType(resp) == "text/event-stream" {
		e := eventReader{memory: holding{all: &b.held}}
		messages(resp.Body, &e, func(data []byte) {
			if take(data); result != nil || err != nil {
				cancel() // what follows is not awaited
			}
		})
	} else {
		memory := holding{all: &b.held}
		defer memory.giveBack(0)
		if body, readErr := memory.readAll(resp.Body); readErr == nil {
			take(body)
		}
	}
	if result == nil && err == nil {
		err = errBrokeOff
	}
	return result, resp.Header, err
}

// revival is the replacement of a lost session, for all calls that need it.
type revival struct {
	done chan struct{}
	err  error // is set before done is closed
}

// revive begins another session in place of one that the server has lost, as after
// its restart. A host on standard input could not: it knows of no sessions. Calls
// share one attempt and its failure, so that a server that hangs costs each of them
// one wait. The attempt goes on if the call that began it is cancelled.
func (b *bridge) revive(ctx context.Context, lost session) error {
	b.mu.Lock()
	if b.session != lost {
		b.mu.Unlock()
		return nil // another call, or the host, has begun one
	}
	r := b.revival
	if r == nil {
		r = &revival{done: make(chan struct{})}
		b.revival = r
		go func() {
			r.err = b.replace(lost)
			b.mu.Lock()
			b.revival = nil
			b.mu.Unlock()
			close(r.done)
		}()
	}
	b.mu.Unlock()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// beginAgain sends again what the host began the lost session with, and puts the new
// session in its place. Other messages use it after that.
func (b *bridge) beginAgain(ctx context.Context, lost session) error {
	ctx, cancel := context.WithTimeout(ctx, greetingTime)
	defer cancel()
	b.mu.Lock()
	greeting, greeted := b.greeting, b.greeted
	b.mu.Unlock()
	m, err := b.own(methodInitialize, greeting.params)
	if err != nil {
		return err
	}
	result, h, err := b.ask(ctx, m)
	if err != nil {
		return err
	}
	s := session{id: h.Get(headerSession), version: text(object(result)["protocolVersion"])}
	if greeted.raw != nil {
		resp, err := b.post(ctx, greeted, s)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode/100 != 2 {
			return b.statusError(ctx, resp)
		}
	}
	if !b.enter(s, &lost) {
		return nil // meanwhile the host began one itself
	}
	b.log.Warn("the MCP server had lost the session: another one has begun")
	if greeted.raw != nil {
		b.watch(s)
	}
	return nil
}

// mismatch reports whether an error says that a header was missing or wrong.
func mismatch(body []byte) bool {
	m, bad := parse(bytes.TrimSpace(body))
	return bad == nil && m.errorCode() == codeHeaderMismatch
}

// maxPages bounds the pages of a list of tools.
const maxPages = 20

// relearn asks the server for its tools, to know which arguments go into headers. A
// host may know the tools from an earlier run. It reports whether the tool that m
// calls has other headers than used, those that were sent.
func (b *bridge) relearn(ctx context.Context, m message, used *argument) bool {
	ctx, cancel := context.WithTimeout(ctx, greetingTime)
	defer cancel()
	params := map[string]any{"_meta": m.named["_meta"]}
	for range maxPages {
		list, err := b.own(methodListTools, params)
		if err != nil {
			return false
		}
		result, _, err := b.ask(ctx, list)
		if err != nil {
			return false
		}
		cursor := text(object(result)["nextCursor"])
		if found := b.tools.learn(result); cursor == "" || slices.Contains(found, text(m.named["name"])) {
			break
		}
		params["cursor"] = cursor
	}
	return !reflect.DeepEqual(b.tools.of(m), used)
}
