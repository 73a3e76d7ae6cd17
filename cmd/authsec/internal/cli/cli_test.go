// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/spf13/cobra"
)

// program is a root with one command, "program do".
func program(do *cobra.Command) *cobra.Command {
	root := &cobra.Command{Use: "program", Short: "Test"}
	do.Use = "do"
	root.AddCommand(do)
	return root
}

func failing(err error) *cobra.Command {
	return &cobra.Command{RunE: func(*cobra.Command, []string) error { return err }}
}

func TestAnErrorIsALineWithAdviceBelowIt(t *testing.T) {
	for _, tc := range []struct {
		err  error
		code int
		want string
	}{
		{nil, 0, ""},
		{errors.New("it broke."), 1, "program do: it broke\n"},
		{errors.New("it broke\nin two\r\nplaces"), 1, "program do: it broke; in two; places\n"},
		{Advise(errors.New("it broke"), "mend it"), 1, "program do: it broke\nTo do: mend it\n"},
		{fmt.Errorf("above: %w", Advise(errors.New("it broke"), "mend it")), 1, "program do: above: it broke\nTo do: mend it\n"},
		{fmt.Errorf("above: %w", authsec.ErrUnauthorized), 1, "program do: above: " + authsec.ErrUnauthorized.Error() + "\nTo do: " + Advice(authsec.ErrUnauthorized) + "\n"},
		{Usagef("a %s call", "wrong"), 2, "program do: a wrong call\nTo do: see program do --help\n"},
		{fmt.Errorf("above: %w", Usagef("wrong")), 2, "program do: above: wrong\nTo do: see program do --help\n"},
		{Advise(Usagef("wrong"), "call it right"), 2, "program do: wrong\nTo do: call it right\n"},
		{Advise(Usagef("--name: %w", context.Canceled), "call it right"), 1, "program do: --name: context canceled\nTo do: the run was interrupted: run it again\n"},
		{ErrFailed, 1, ""},
		{fmt.Errorf("above: %w", ErrFailed), 1, ""},
	} {
		var stdout, stderr bytes.Buffer
		code := Run(t.Context(), program(failing(tc.err)), []string{"do"}, nil, &stdout, &stderr)
		if code != tc.code || stdout.Len() > 0 || stderr.String() != tc.want {
			t.Errorf("%v: %d, %q, want %d, %q", tc.err, code, stderr.String(), tc.code, tc.want)
		}
	}
}

func TestACommandLogsWhetherItHadStarted(t *testing.T) {
	broke := Advise(errors.New("it broke"), "mend it")
	for _, tc := range []struct {
		err error
		msg string
	}{
		{broke, "not started"},
		{Stopped(broke), "stopped"},
		{fmt.Errorf("above: %w", Stopped(broke)), "stopped"},
		{Stopped(ErrFailed), ""},
	} {
		cmd := failing(tc.err)
		cmd.Annotations = map[string]string{LogsErrors: "yes"}
		var stderr bytes.Buffer
		code := Run(t.Context(), program(cmd), []string{"do"}, nil, io.Discard, &stderr)
		var l struct{ Level, Msg, Error, Do string }
		json.Unmarshal(stderr.Bytes(), &l)
		if said := strings.HasSuffix(l.Error, "it broke") && l.Do == "mend it" && l.Level == "ERROR"; code != 1 || l.Msg != tc.msg || said != (tc.msg != "") {
			t.Errorf("%v: %d, %s, want 1 and %q", tc.err, code, stderr.String(), tc.msg)
		}
	}
}

func TestAdviceKnowsTheErrorsOfAuthSec(t *testing.T) {
	for _, err := range []error{authsec.ErrNotDelegated, authsec.ErrUnauthorized, authsec.ErrInvalidClientID, authsec.ErrRateLimited,
		authsec.ErrInsecureURL, authsec.ErrInvalidResponse, context.Canceled} {
		if do := Advice(fmt.Errorf("above: %w", err)); do == "" || strings.Contains(do, "\n") {
			t.Errorf("%v: advice %q, want one line", err, do)
		}
	}
	if do := Advice(io.EOF); do != "" {
		t.Errorf("EOF: advice %q, want none", do)
	}
}

// A command may be in a system call that does not end.
func TestACommandThatDoesNotEndIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		forever := make(chan bool)
		defer close(forever)
		hangs := &cobra.Command{RunE: func(*cobra.Command, []string) error { <-forever; return nil }}
		began := time.Now()
		var stderr bytes.Buffer
		code := Run(ctx, program(hangs), []string{"do"}, nil, io.Discard, &stderr)
		if took := time.Since(began); code != 1 || took != time.Minute+endTime || stderr.Len() == 0 {
			t.Errorf("%d after %v, %q, want 1 after %v, and a message", code, took, stderr.String(), time.Minute+endTime)
		}
	})
}

func TestACommandHasTimeToEnd(t *testing.T) {
	for _, tc := range []struct {
		takes       time.Duration
		annotations map[string]string
	}{{endTime - 1, nil}, {time.Hour, map[string]string{Drains: "an hour"}}} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			drains := &cobra.Command{Annotations: tc.annotations, RunE: func(cmd *cobra.Command, _ []string) error {
				<-cmd.Context().Done()
				time.Sleep(tc.takes)
				return errors.New("its own error")
			}}
			var stderr bytes.Buffer
			if Run(ctx, program(drains), []string{"do"}, nil, io.Discard, &stderr); !strings.Contains(stderr.String(), "its own error") {
				t.Errorf("with %v to end: %q, want the command's own error", tc.takes, stderr.String())
			}
		})
	}
}

func TestWhatACommandIsGiven(t *testing.T) {
	var stdout, stderr bytes.Buffer
	echo := &cobra.Command{Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		in, err := io.ReadAll(cmd.InOrStdin())
		fmt.Fprint(cmd.OutOrStdout(), string(in), args)
		fmt.Fprint(cmd.ErrOrStderr(), "aside")
		return err
	}}
	code := Run(t.Context(), program(echo), []string{"do", "x"}, strings.NewReader("in"), &stdout, &stderr)
	if code != 0 || stdout.String() != "in[x]" || stderr.String() != "aside" {
		t.Errorf("%d, %q, %q, want 0, in[x], aside", code, stdout.String(), stderr.String())
	}
	if code := Run(t.Context(), program(echo), []string{"do"}, nil, io.Discard, io.Discard); code != 2 {
		t.Errorf("without its argument: %d, want 2", code)
	}
	if code := Run(t.Context(), program(failing(nil)), []string{"do", "x"}, nil, io.Discard, io.Discard); code != 2 {
		t.Errorf("an argument to a command without Args: %d, want 2", code)
	}
}

func TestARequiredFlagMayComeFromTheEnvironment(t *testing.T) {
	need := func() *cobra.Command {
		cmd := failing(nil)
		cmd.Flags().String("name", "", "a name")
		cmd.MarkFlagRequired("name")
		return cmd
	}
	var stderr bytes.Buffer
	if code := Run(t.Context(), program(need()), []string{"do"}, nil, io.Discard, &stderr); code != 2 || !strings.Contains(stderr.String(), "name") {
		t.Errorf("without the flag: %d, %q, want 2 and its name", code, stderr.String())
	}
	t.Setenv("PROGRAM_DO_NAME", "x")
	if code := Run(t.Context(), program(need()), []string{"do"}, nil, io.Discard, &stderr); code != 0 {
		t.Errorf("with the variable: %d, want 0: %s", code, stderr.String())
	}
}

func TestAVariableHasOneValueALine(t *testing.T) {
	t.Setenv("PROGRAM_DO_URL", "\n https://a.example/x,y \r\n \t \nhttps://b.example\n")
	t.Setenv("PROGRAM_DO_HOST", "a, b,,c\n d\r\n\n")
	var urls []string
	var hosts List
	cmd := failing(nil)
	cmd.Flags().StringArrayVar(&urls, "url", nil, "a URL")
	cmd.Flags().Var(&hosts, "host", "a host")
	if code := Run(t.Context(), program(cmd), []string{"do"}, nil, io.Discard, io.Discard); code != 0 {
		t.Fatalf("%d, want 0", code)
	}
	if len(urls) != 2 || urls[0] != "https://a.example/x,y" || urls[1] != "https://b.example" {
		t.Errorf("URLs %q, want both lines", urls)
	}
	if len(hosts) != 4 || hosts.String() != "a,b,c,d" {
		t.Errorf("hosts %q, want a, b, c, d", hosts)
	}
}

func TestHelpFitsIntoATerminal(t *testing.T) {
	cmd := failing(nil)
	cmd.Flags().StringP("name", "n", "Anna", strings.Repeat("The `person` whose name it is. ", 9))
	cmd.Flags().String("hidden", "", "not shown")
	cmd.Flags().MarkHidden("hidden")
	cmd.Flags().Bool("loud", false, "speak up")
	var help bytes.Buffer
	Run(t.Context(), program(cmd), []string{"do", "-h"}, nil, &help, io.Discard)
	for line := range strings.Lines(help.String()) {
		if len(line) > textWidth+1 {
			t.Errorf("a line of %d bytes: %q", len(line), line)
		}
	}
	for _, want := range []string{"\n  -n, --name person ", " PROGRAM_DO_NAME\n", "default: Anna\n", "\n  --loud ", " PROGRAM_DO_LOUD\n      speak up\n"} {
		if !strings.Contains(help.String(), want) {
			t.Errorf("the help has no %q:\n%s", want, help.String())
		}
	}
	if strings.Contains(help.String(), "hidden") || strings.Contains(help.String(), "default: false") {
		t.Errorf("the help shows a hidden flag, or false as a default:\n%s", help.String())
	}
}

func TestIsTerminal(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if IsTerminal(null) || IsTerminal(new(bytes.Buffer)) {
		t.Error("the null device or a buffer is taken for a terminal")
	}
}
