// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Footer is an annotation of a command with the end of its help.
const Footer = "authsec footer"

const (
	textWidth = 80 // of the help
	textStart = 6  // of the text about a flag
)

// writeHelp writes a command's help.
func writeHelp(w io.Writer, cmd *cobra.Command) error {
	var b strings.Builder
	text := cmd.Long
	if text == "" {
		text = cmd.Short
	}
	fmt.Fprintf(&b, "usage: %s\n\n%s\n", usageLine(cmd), strings.TrimSpace(text))
	if cmd.Example != "" {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", strings.Trim(cmd.Example, "\n"))
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString("\nCommands:\n")
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() || sub.Name() == "help" {
				fmt.Fprintf(&b, "  %-*s  %s\n", cmd.NamePadding(), sub.Name(), sub.Short)
			}
		}
	}
	if cmd.HasAvailableFlags() && !cmd.HasAvailableSubCommands() {
		b.WriteString("\nFlags, each with the environment variable that sets it, too:\n")
		cmd.Flags().VisitAll(func(f *pflag.Flag) { writeFlag(&b, f) })
	}
	if footer := strings.TrimSpace(cmd.Annotations[Footer]); footer != "" {
		fmt.Fprintf(&b, "\n%s\n", footer)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// usageLine is the command with its arguments.
func usageLine(cmd *cobra.Command) string {
	if cmd.HasAvailableSubCommands() {
		return cmd.CommandPath() + " COMMAND"
	}
	name, args, _ := strings.Cut(cmd.Use, " ")
	path := strings.TrimSuffix(cmd.CommandPath(), name) + name
	if cmd.HasAvailableFlags() && !strings.Contains(args, "[flags]") {
		path += " [flags]"
	}
	return strings.TrimSpace(path + " " + args)
}

func writeFlag(b *strings.Builder, f *pflag.Flag) {
	if f.Hidden {
		return
	}
	value, text := pflag.UnquoteUsage(f)
	value = strings.TrimSuffix(value, "Array")
	name := "--" + f.Name
	if f.Shorthand != "" {
		name = "-" + f.Shorthand + ", " + name
	}
	if f.NoOptDefVal == "" && value != "" {
		name += " " + value
	}
	env := strings.Join(f.Annotations[envVar], "")
	b.WriteString(strings.TrimRight(fmt.Sprintf("  %-28s %s", name, env), " ") + "\n")
	switch value := strings.Trim(f.DefValue, "[]"); value {
	case "", "false", "0", "0s":
	default:
		text += "; default: " + value
	}
	column := 0
	for word := range strings.FieldsSeq(text) {
		if column > 0 && column+1+len(word) > textWidth {
			b.WriteByte('\n')
			column = 0
		}
		if column == 0 {
			column, _ = b.WriteString(strings.Repeat(" ", textStart-1))
		}
		b.WriteString(" " + word)
		column += 1 + len(word)
	}
	b.WriteByte('\n')
}
