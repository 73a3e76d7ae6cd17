// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
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
				err = errors.New("the server answered with an error")
			}
		default:
			b.out.write(data)
		}
	}
	if contentType(resp) == "text/event-stream" {
		var e eventReader
		messages(resp.Body, &e, func(data []byte) {
			if take(data); result != nil || err != nil {
				cancel() // what follows is not awaited
			}
		})
	} else if body, readErr := io.ReadAll(io.LimitReader(resp.Body, maxMessage)); readErr == nil {
		take(body)
	}
	if result == nil && err == nil {
		err = errBrokeOff
	}
	return result, resp.Header, err
}

// revive begins another session in place of one that the server has lost, as after
// its restart. A host on standard input could not: it knows of no sessions.
func (b *bridge) revive(ctx context.Context, lost session) error {
	select {
	case b.reviving <- struct{}{}:
		defer func() { <-b.reviving }()
	case <-ctx.Done():
		return ctx.Err()
	}
	b.mu.Lock()
	present, greeting, greeted := b.session, b.greeting, b.greeted
	b.mu.Unlock()
	if present != lost {
		return nil // another call has done it
	}
	m, err := b.own(methodInitialize, greeting.params)
	if err != nil {
		return err
	}
	result, h, err := b.ask(ctx, m)
	if err != nil {
		return err
	}
	s := session{id: h.Get(headerSession), version: text(object(result)["protocolVersion"])}
	b.settled(s)
	b.log.Warn("the MCP server had lost the session: another one has begun")
	if greeted.raw == nil {
		return nil
	}
	resp, err := b.post(ctx, greeted, s)
	if err != nil {
		return err
	}
	resp.Body.Close()
	b.watch(s)
	return nil
}

// mismatch reports whether an error says that a header was missing or wrong.
func mismatch(body []byte) bool {
	m, bad := parse([]byte(strings.TrimSpace(string(body))))
	if bad != nil {
		return false
	}
	return string(object(object(m.raw)["error"])["code"]) == fmt.Sprint(codeHeaderMismatch)
}

// maxPages bounds the pages of a list of tools.
const maxPages = 20

// relearn asks the server for its tools, to know which arguments go into headers.
// It reports whether it brought something new about the tool that m calls. A host
// may know the tools from an earlier run.
func (b *bridge) relearn(ctx context.Context, m message) bool {
	before := len(b.tools.of(m))
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
		b.tools.learn(result)
		cursor := text(object(result)["nextCursor"])
		if cursor == "" || len(b.tools.of(m)) > 0 {
			break
		}
		params["cursor"] = cursor
	}
	return len(b.tools.of(m)) > 0 || before > 0
}
