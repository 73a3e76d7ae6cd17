// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print how this program was built",
		Long:  "Prints this program's version, its commit if Git was there when it was built, and the\nversion of Go.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			info, _ := debug.ReadBuildInfo()
			return printLine(cmd, version(info))
		},
	}
}

// version returns the build information on one line.
func version(info *debug.BuildInfo) string {
	if info == nil {
		info = new(debug.BuildInfo)
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	text := "authsec " + cmp.Or(info.Main.Version, "(devel)")
	if commit := settings["vcs.revision"]; commit != "" {
		text += fmt.Sprintf(", commit %s of %s", commit, settings["vcs.time"])
		if settings["vcs.modified"] == "true" {
			text += " and local changes"
		}
	}
	return fmt.Sprintf("%s, %s, %s/%s", text, cmp.Or(info.GoVersion, runtime.Version()),
		cmp.Or(settings["GOOS"], runtime.GOOS), cmp.Or(settings["GOARCH"], runtime.GOARCH))
}
