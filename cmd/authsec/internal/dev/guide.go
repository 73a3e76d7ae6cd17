// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package dev

import (
	"fmt"
	"net/url"
	"strings"
	"time"
)

// guide is what the command prints: the environment, and what to try.
func guide(o options, authsecURL, apiURL string) string {
	vars := [][2]string{
		{"AUTHSEC_BASE_URL", authsecURL},
		{"AUTHSEC_AGENT_CLIENT_ID", o.clientID},
		{"DOWNSTREAM_URL", apiURL + "/"},
	}
	if o.generation == newer {
		vars = append(vars, [2]string{"AUTHSEC_API_TOKEN", credential})
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }

	line("# A local AuthSec server and a protected API, until you press Ctrl-C.")
	line("# In another terminal, set the environment:")
	line("")
	for _, v := range vars {
		line("export %s='%s'", v[0], v[1])
	}
	line("")
	line("# The same for PowerShell:")
	line("")
	for _, v := range vars {
		line("$env:%s = '%s'", v[0], v[1])
	}
	agent := authsecURL + agentsPath + o.clientID
	line("")
	line("# For AuthSec's own SDKs, the user-flow URL is %s/uflow", authsecURL)
	if o.generation == newer {
		line("# They send no credential, so they need --generation older.")
	}
	line("")
	line("# What to try (in PowerShell, write curl.exe in place of curl):")
	line("")
	line("# Delegate anew; each setting may be left out. JSON as a real server takes it works, too.")
	line(`curl -d "permissions=%s" -d "audience=%s" -d "ttl=%s" "%s/delegate-token"`, form(strings.Join(o.permissions, ",")), form(o.audience), short(o.lifetime), agent)
	line("# Delegate for 10 seconds, and let it expire.")
	line(`curl -d "ttl=10s" "%s/delegate-token"`, agent)
	line("# Revoke the delegation.")
	line(`curl -X POST "%s/revoke-token"`, agent)
	line("# Call the API without a token, and with one.")
	line(`curl -i "%s/"`, apiURL)
	line("authsec fetch %s/", apiURL)
	line("")
	return b.String()
}

// form returns a form's value, encoded if a shell or a form could misread it.
func form(value string) string {
	plain := func(r rune) bool {
		return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || strings.ContainsRune("-._~:,/", r)
	}
	if strings.ContainsFunc(value, func(r rune) bool { return !plain(r) }) {
		return url.QueryEscape(value)
	}
	return value
}

// short returns d without the zeros that Duration.String ends in: 1h, not 1h0m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
