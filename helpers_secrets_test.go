// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Opaque tokens, of characters that JSON, HTML and URLs may escape.
const (
	secretToken      = "delegated+opaque/of~the.agent_0123456789=="
	secretCredential = "caller+opaque/of~the.agent_0123456789=="
)

var (
	percentEscape = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)
	jsonEscape    = regexp.MustCompile(`\\u[0-9A-Fa-f]{4}`)
)

// spellings are the text as it is, and decoded in several ways.
func spellings(text string) []string {
	unescaped := percentEscape.ReplaceAllStringFunc(text, func(s string) string { b, _ := hex.DecodeString(s[1:]); return string(b) })
	unquoted := jsonEscape.ReplaceAllStringFunc(text, func(s string) string { n, _ := strconv.ParseUint(s[2:], 16, 16); return string(rune(n)) })
	unquoted = strings.ReplaceAll(unquoted, `\/`, "/")
	return []string{text, unescaped, unquoted, html.UnescapeString(text), html.UnescapeString(unquoted)}
}

// holdsSecret reports whether the text has the secret in it, in any case, and
// however it is escaped.
func holdsSecret(text, secret string) bool {
	secret = strings.ToLower(secret)
	for _, s := range spellings(text) {
		s = strings.ToLower(s)
		if strings.Contains(s, secret) || strings.Contains(s, hex.EncodeToString([]byte(secret))) {
			return true
		}
	}
	return false
}

// checkSecrets fails if the text has one of the secrets in it. It does not
// show the text.
func checkSecrets(t *testing.T, where, text string, secrets map[string]string) {
	t.Helper()
	for name, secret := range secrets {
		if holdsSecret(text, secret) {
			t.Errorf("%s holds the %s", where, name)
		}
	}
}

var verbs = []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X", "%T", "%t"}

// checkFormats formats the value in every way there is.
func checkFormats(t *testing.T, name string, v any, secrets map[string]string) {
	t.Helper()
	texts := map[string]string{"Sprint": fmt.Sprint(v)}
	for _, verb := range verbs {
		texts[verb] = fmt.Sprintf(verb, v)
	}
	for kind, handler := range handlers() {
		var b bytes.Buffer
		log := slog.New(handler(&b))
		log.Debug("m", "v", v)
		log.With("v", v).Debug("m", slog.Group("g", "v", v))
		texts["slog's "+kind] = b.String()
	}
	for secretName, secret := range secrets {
		var where []string
		for kind, text := range texts {
			if holdsSecret(text, secret) {
				where = append(where, kind)
			}
		}
		if slices.Sort(where); where != nil {
			t.Errorf("%s holds the %s, by %q", name, secretName, where)
		}
	}
}

func handlers() map[string]func(io.Writer) slog.Handler {
	options := &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}
	return map[string]func(io.Writer) slog.Handler{
		"text": func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, options) },
		"JSON": func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, options) },
	}
}

func checkJSON(t *testing.T, name string, v any, secrets map[string]string) {
	t.Helper()
	b, err := json.Marshal(v)
	checkSecrets(t, name+" in JSON", string(b), secrets)
	if err != nil {
		checkSecrets(t, name+"'s error from JSON", err.Error(), secrets)
	}
}

// secretError is an error whose text holds a secret.
type secretError struct{ s string }

func (e secretError) Error() string { return e.s }
