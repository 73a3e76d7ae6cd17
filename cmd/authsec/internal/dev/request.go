// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package dev

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/authsec-go/authsec/authsectest"
)

// settings are what a request to delegate has, by name.
type settings map[string]any

// readSettings reads a body in JSON or of a form, and a query. curl -d always
// says that the body is a form, so the first character decides.
func readSettings(body []byte, query string) (settings, error) {
	set := settings{}
	body = bytes.TrimSpace(body)
	isJSON := bytes.HasPrefix(body, []byte("{"))
	forms := []string{query}
	if !isJSON {
		forms = append(forms, string(body))
	}
	for _, form := range forms {
		values, err := url.ParseQuery(form)
		if err != nil {
			return nil, errors.New("it is neither a form nor JSON")
		}
		for name, list := range values {
			set[name] = strings.Join(list, " ")
		}
	}
	if isJSON {
		dec := json.NewDecoder(bytes.NewReader(body))
		dec.UseNumber()
		if err := dec.Decode(&set); err != nil {
			return nil, errors.New("it is malformed JSON")
		}
	}
	return set, nil
}

// names are the names of settings. Real servers have audience, ttl_seconds and
// agent_type; their permissions come from a policy.
var names = map[string]string{
	"permissions": "permissions", "permission": "permissions", "scope": "permissions", "scopes": "permissions",
	"audience": "audience", "aud": "audience",
	"ttl_seconds": "ttl", "ttl": "ttl", "duration": "ttl", "lifetime": "ttl", "expires_in": "ttl",
	"agent_type": "",
}

// apply returns d with the settings. It names those that it does not know.
func (set settings) apply(d authsectest.Delegation) (_ authsectest.Delegation, ignored []string, err error) {
	for _, name := range slices.Sorted(maps.Keys(set)) {
		value := set[name]
		meaning, known := names[strings.ToLower(name)]
		switch {
		case !known:
			ignored = append(ignored, name)
		case meaning == "permissions":
			d.Permissions, err = readList(name, value)
		case meaning == "audience":
			d.Audience, err = readList(name, value)
		case meaning == "ttl":
			d.TTL, err = readDuration(name, value, d.TTL)
		}
		if err != nil {
			return d, nil, err
		}
	}
	return d, ignored, nil
}

// readList reads a list of texts, or one text with white space or commas between them.
func readList(name string, value any) ([]string, error) {
	fault := fmt.Errorf(`%s is no list of texts: write "a b", or ["a","b"] in JSON`, name)
	switch value := value.(type) {
	case nil:
		return nil, nil // which a real server may answer, too
	case string:
		return words(value), nil
	case []any:
		texts := make([]string, len(value))
		for i, v := range value {
			text, ok := v.(string)
			if !ok {
				return nil, fault
			}
			texts[i] = text
		}
		return words(texts...), nil
	}
	return nil, fault
}

// readDuration reads seconds, or a text such as "90s". Zero means the default, as on
// real servers.
func readDuration(name string, value any, byDefault time.Duration) (time.Duration, error) {
	var text string
	switch value := value.(type) {
	case nil:
		return byDefault, nil
	case string:
		text = strings.TrimSpace(value)
	case json.Number:
		text = value.String()
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		d, err = time.ParseDuration(text + "s")
	}
	switch {
	case err != nil:
		return 0, errors.New(name + ` is no duration: write seconds such as 90, or a text such as "90s" or "1h"`)
	case d == 0:
		return byDefault, nil
	}
	return d, nil
}
