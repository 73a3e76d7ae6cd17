// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

func TestVersionSaysHowTheProgramWasBuilt(t *testing.T) {
	released := &debug.BuildInfo{GoVersion: "go1.26.8", Main: debug.Module{Version: "v1.2.3"}, Settings: []debug.BuildSetting{
		{Key: "GOOS", Value: "linux"}, {Key: "GOARCH", Value: "arm64"},
	}}
	local := *released
	local.Main.Version = "(devel)"
	local.Settings = append(local.Settings, debug.BuildSetting{Key: "vcs.revision", Value: "0123abc"}, debug.BuildSetting{Key: "vcs.time", Value: "2026-11-23T08:31:33Z"},
		debug.BuildSetting{Key: "vcs.modified", Value: "true"})
	for _, tc := range []struct {
		info *debug.BuildInfo
		want string
	}{
		{released, "authsec v1.2.3, go1.26.8, linux/arm64"},
		{&local, "authsec (devel), commit 0123abc of 2026-11-23T08:31:33Z and local changes, go1.26.8, linux/arm64"},
		{nil, "authsec (devel), " + runtime.Version() + ", " + runtime.GOOS + "/" + runtime.GOARCH},
	} {
		if got := version(tc.info); got != tc.want {
			t.Errorf("version = %q, want %q", got, tc.want)
		}
	}
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"version"}, &stdout, &stderr); code != 0 || !strings.HasPrefix(stdout.String(), "authsec ") || strings.Count(stdout.String(), "\n") != 1 {
		t.Errorf("version = %d, %q, want 0 and one line", code, stdout.String())
	}
}

func TestCompletionKnowsCommandsAndFlags(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), []string{"completion", shell}, &stdout, &stderr); code != 0 || stderr.Len() > 0 || !strings.Contains(stdout.String(), "authsec") {
			t.Errorf("completion %s = %d, %q, want 0 and a script", shell, code, stderr.String())
		}
	}
	for _, tc := range []struct{ typed, want string }{
		{"who", "whoami\t"},
		{"proxy --up", "--upstream\t"},
		{"completion ba", "bash\t"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), append([]string{"__complete"}, strings.Fields(tc.typed)...), &stdout, &stderr)
		if code != 0 || !strings.HasPrefix(stdout.String(), tc.want) {
			t.Errorf("after %q: %d, %q, want 0 and %q", tc.typed, code, stdout.String(), tc.want)
		}
	}
}
