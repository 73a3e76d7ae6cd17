// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"strings"
	"testing"
)

func TestTextIsFitForALine(t *testing.T) {
	long := strings.Repeat("é", 400)
	for name, c := range map[string]struct{ text, want string }{
		"nothing to do":                {"No active delegation token found", "No active delegation token found"},
		"empty":                        {"", ""},
		"control characters":           {" \x1b[31m\nb\u202ec\t", "[31m b c"},
		"invalid UTF-8":                {"a\xff\xfeb", "a?b"},
		"long":                         {strings.Repeat("x", 600), strings.Repeat("x", 512) + "…"},
		"long, not cut in a character": {"x" + long, "x" + long[:510] + "…"},
		"behind much space":            {strings.Repeat(" ", 10000) + "x", "x"},
		"secret":                       {"bad " + opaque + ", " + each("%%%02x")(opaque) + "!", "bad [redacted], [redacted]!"},
		"secret at the cut":            {strings.Repeat("x", 508) + opaque, strings.Repeat("x", 508) + "[red…"},
		"many secrets":                 {strings.Repeat(opaque, 1000), strings.Repeat(Mark, 51) + "[r…"},
		"secret where the window ends": {base64std(opaque+strings.Repeat("x", 3018)) + " " + strings.Repeat(opaque+" ", 1000), "[redacted] [redacted]"},
		"client ID":                    {"client_id " + strings.ToUpper(uuid) + " not found", "client_id 9b477e30… not found"},
		"client ID at the cut":         {strings.Repeat("x", 500) + uuid, strings.Repeat("x", 500) + "9b477e30" + "…"},
		"secret with the client ID":    {base64std(uuid + opaque), "[redacted]"},
		"unknown JWT":                  {"expired: " + jwtToken + ".", "expired: [redacted]"},
		"JWT's beginning":              {"token eyJhbGciOiJSUzI1NiIs", "token [redacted]"},
		"unknown bearer token":         {"sent BEARER: abcdefgh01234567== twice", "sent BEARER: [redacted] twice"},
		"Bearer is a word":             {`Bearer realm="authsec", bearer token wanted`, `Bearer realm="authsec", bearer token wanted`},
	} {
		got := Text(c.text, uuid, "", opaque)
		if got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

// A secret that is like a word must not be struck out of each word.
func TestTextWithAShortSecretIsLeftOut(t *testing.T) {
	const text = "No active delegation token found"
	for _, c := range []struct{ text, secret, want string }{
		{text, "e", Mark}, {text, "active", Mark}, {text, "ACTIVE", Mark}, {text, "passive", text}, {text, "", text},
		{"a %61ctive one", "active", Mark}, {`\u0061ctive`, "active", Mark}, {"&#x61;ctive", "active", Mark}, {"%2561ctive", "active", Mark},
		{opaque, "redact", Mark}, // not what it is replaced by
	} {
		if got := Text(c.text, uuid, c.secret, opaque); got != c.want {
			t.Errorf("%q in %q: got %q, want %q", c.secret, c.text, got, c.want)
		}
		if got, want := holds(c.text, c.secret), c.want == Mark && c.text != opaque; got != want {
			t.Errorf("%q in %q: got %t, want %t", c.secret, c.text, got, want)
		}
	}
}

func TestClientIDIsShortened(t *testing.T) {
	const short = "9b477e30…"
	for _, c := range []struct{ text, id, want string }{
		{"https://x.test/" + uuid + "?a=" + strings.ToUpper(uuid), uuid, "https://x.test/" + short + "?a=" + short},
		{strings.ReplaceAll(uuid, "-", "") + "0", uuid, short + "0"},
		{"{" + uuid + "}", uuid, "{" + short + "}"},
		{strings.ReplaceAll(uuid, "-", "%2D"), uuid, short},
		{"9-b477e3039-894c-12926c3945-a59f-761f", uuid, short},
		{strings.ToUpper(uuid), "{" + uuid + "}", "{9b477e3…"},
		{"agent%2Fone/x agent/ONE", "agent/one", "agent/on…/x agent/on…"},
		{"agents of agent-1: agent, AGENT, %61gent, a/agent/b, agent_1", "agent", "ag…s of ag…-1: ag…, ag…, ag…, a/ag…/b, ag…_1"},
		{"b: " + base64std("of an agent, too"), "agent", "b: ag…"},
		{"/.id/", ".id", "/.…/"},
		{"a text", "", "a text"},
		{"\xff0123456789", "\xff0123456789", "�0123456…"},
	} {
		if got := Shorten(c.text, c.id); got != c.want {
			t.Errorf("%q in %q: got %q, want %q", c.id, c.text, got, c.want)
		}
	}
	for id, want := range map[string]string{uuid: short, "12345678": "1234…", "123456789": "12345678…", "äöüß": "äö…", "a": "…", "": ""} {
		if got := ShortID(id); got != want {
			t.Errorf("ShortID(%q): got %q, want %q", id, got, want)
		}
	}
}

func TestCutHalvesNoCharacter(t *testing.T) {
	for _, c := range []struct {
		n    int
		want string
	}{{0, "…"}, {1, "a…"}, {2, "a…"}, {3, "aé…"}, {4, "aéb"}, {5, "aéb"}} {
		if got := Cut("aéb", c.n); got != c.want {
			t.Errorf("Cut to %d: got %q, want %q", c.n, got, c.want)
		}
	}
}
