// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package cli has what the subcommands of authsec share: how they are run, how their
// flags are set from the environment, how they fail, and what their help looks like.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// endTime is how long a command may go on after its context ended. Then Run does
// not wait for it: it may be in a system call that does not end, such as the opening
// of a pipe that has no other side.
const endTime = 2 * time.Second

// maxTypos is how many letters of a command's name may be wrong for it to be suggested.
const maxTypos = 2

// Drains is an annotation of a command that bounds its own end, and may take longer
// than others. Its value does not matter.
const Drains = "authsec drains"

// LogsErrors is an annotation of a command that writes its errors as log records in
// JSON, like its other lines on standard error. Its value does not matter.
const LogsErrors = "authsec logs errors"

func init() { cobra.EnableCommandSorting = false } // the help has the order in which they were added

// Run runs the program that root describes, and returns its exit code: 0, 1 if it
// failed, 2 if it was called wrongly. It changes root, so a root serves one Run.
//
// A command without Args takes no arguments. One that only has subcommands cannot be
// called without one of them.
func Run(ctx context.Context, root *cobra.Command, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetArgs(append([]string{}, args...)) // never nil: Cobra would take os.Args
	root.SetHelpCommand(helpCommand())
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { writeHelp(cmd.OutOrStdout(), cmd) })
	root.SetUsageFunc(func(cmd *cobra.Command) error { return writeHelp(cmd.ErrOrStderr(), cmd) })
	root.SetFlagErrorFunc(wrongFlag)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd(args...)
	prepare(root)
	cmd, err := root.ExecuteContextC(ctx)
	if cmd.Annotations[LogsErrors] != "" {
		return logExit(stderr, cmd.CommandPath(), err)
	}
	return exit(stderr, cmd.CommandPath(), err)
}

// prepare gives a command and those below it what all have in common.
func prepare(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		prepare(sub)
	}
	cmd.InitDefaultHelpFlag()
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) { describe(cmd, f) })
	if !cmd.Runnable() {
		cmd.RunE = func(cmd *cobra.Command, args []string) error { return unknown(cmd, args) }
		cmd.Args = cobra.ArbitraryArgs
	}
	if cmd.Args == nil {
		cmd.Args = noArgs
		if cmd.ValidArgsFunction == nil {
			cmd.ValidArgsFunction = cobra.NoFileCompletions
		}
	}
	// Args is what Cobra calls first, before it checks which flags are set.
	check := cmd.Args
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if err := fromEnv(cmd); err != nil {
			return err
		}
		if err := check(cmd, args); err != nil {
			return asUsage(err)
		}
		return asUsage(errors.Join(cmd.ValidateRequiredFlags(), cmd.ValidateFlagGroups()))
	}
	if run := cmd.RunE; run != nil && cmd.Annotations[Drains] == "" {
		cmd.RunE = func(cmd *cobra.Command, args []string) error { return end(cmd, args, run) }
	}
}

// end runs a command, and waits for its end at most for endTime after the context
// ended.
func end(cmd *cobra.Command, args []string, run func(*cobra.Command, []string) error) error {
	done := make(chan error, 1)
	go func() { done <- run(cmd, args) }()
	select {
	case err := <-done:
		return err
	case <-cmd.Context().Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(endTime):
		return cmd.Context().Err()
	}
}

// asUsage returns err as a UsageError.
func asUsage(err error) error {
	if e := (*UsageError)(nil); err == nil || errors.As(err, &e) {
		return err
	}
	return &UsageError{err}
}

func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return Usagef("unexpected argument %q", args[0])
	}
	return nil
}

// unknown says why a command that only has subcommands cannot run.
func unknown(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		writeHelp(cmd.ErrOrStderr(), cmd)
		return Usagef("no command is named")
	}
	err := Usagef("there is no command %q", args[0])
	for distance := range maxTypos { // the most similar first
		cmd.SuggestionsMinimumDistance = distance + 1
		if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
			return Advise(err, fmt.Sprintf("did you mean %s %s? %[1]s --help lists all commands", cmd.CommandPath(), similar[0]))
		}
	}
	return err
}

// wrongFlag makes an error about a flag plain.
func wrongFlag(cmd *cobra.Command, err error) error {
	var e *pflag.NotExistError
	if !errors.As(err, &e) || e.GetSpecifiedShortnames() == "" {
		return asUsage(err)
	}
	// A name with one hyphen was read as several flags with one letter each. -h is one
	// of them.
	name, _, _ := strings.Cut(e.GetSpecifiedShortnames(), "=")
	for _, name := range []string{name, "h" + name} {
		if cmd.Flags().Lookup(name) != nil {
			return Advise(Usagef("unknown flag -%s", name), fmt.Sprintf("write two hyphens: --%s", name))
		}
	}
	return Usagef("unknown flag -%s", name)
}

// helpCommand is the command help.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [command]",
		Short: "Show the help of a command",
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			of, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return Advise(Usagef("there is no command %q", strings.Join(args, " ")), "see "+cmd.Root().Name()+" --help")
			}
			return writeHelp(cmd.OutOrStdout(), of)
		},
	}
}
