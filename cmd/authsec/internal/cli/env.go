// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// envVar is the annotation of a flag that has its environment variable.
const envVar = "authsec environment variable"

// describe names the flag's environment variable.
func describe(cmd *cobra.Command, f *pflag.Flag) {
	if f.Name == "help" {
		f.Usage = "show this text"
		return
	}
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	f.Annotations[envVar] = []string{EnvName(cmd, f.Name)}
}

// EnvName returns the environment variable that sets a command's flag, such as
// AUTHSEC_MCP_SERVE_URL.
func EnvName(cmd *cobra.Command, flag string) string {
	return strings.ToUpper(strings.NewReplacer(" ", "_", "-", "_").Replace(cmd.CommandPath() + " " + flag))
}

// fromEnv sets flags from the environment, if the command line does not set them.
// White space around a value is ignored, and an empty value is none. A flag that may
// be repeated gets each line of its variable that is not blank. A [List] splits what
// it gets.
func fromEnv(cmd *cobra.Command) (err error) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		names := f.Annotations[envVar]
		if err != nil || f.Changed || len(names) == 0 {
			return
		}
		value := strings.TrimSpace(os.Getenv(names[0]))
		if value == "" {
			return
		}
		values := []string{value}
		if _, repeats := f.Value.(pflag.SliceValue); repeats {
			values = strings.FieldsFunc(value, func(r rune) bool { return r == '\n' || r == '\r' })
		}
		for _, v := range values {
			if v = strings.TrimSpace(v); v == "" {
				continue
			}
			if setErr := cmd.Flags().Set(f.Name, v); setErr != nil {
				err = Usagef("%s: invalid value %q: %w", names[0], v, cause(setErr))
				return
			}
		}
	})
	return err
}

// cause returns the error without pflag's words around it, which name the flag.
func cause(err error) error {
	if e, ok := err.(interface{ Unwrap() error }); ok && e.Unwrap() != nil {
		return e.Unwrap()
	}
	return err
}

// List is a flag that may be repeated. Each value is a list, with commas or line breaks
// between its names.
type List []string

func (l *List) String() string { return strings.Join(*l, ",") }

// Type is the name of a value in the help.
func (l *List) Type() string { return "list" }

// Set adds the names in s.
func (l *List) Set(s string) error {
	for name := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == ',' || r == '\n' || r == '\r' }) {
		if name = strings.TrimSpace(name); name != "" {
			*l = append(*l, name)
		}
	}
	return nil
}
