// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/authsec-go/authsec/cmd/authsec/internal/cli"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// commands are the commands below cmd that can be run.
func commands(cmd *cobra.Command) (all []*cobra.Command) {
	for _, sub := range cmd.Commands() {
		if all = append(all, commands(sub)...); sub.Runnable() {
			all = append(all, sub)
		}
	}
	return all
}

// words are what a user types to call a command.
func words(cmd *cobra.Command) []string { return strings.Fields(cmd.CommandPath())[1:] }

func TestHelpListsAllCommands(t *testing.T) {
	for _, args := range [][]string{{"help"}, {"-h"}, {"--help"}} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), args, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
			t.Errorf("%q = %d, %q on standard error, want 0 and nothing", args, code, stderr.String())
		}
		for _, name := range []string{"smoke", "token", "header", "whoami", "fetch", "proxy", "mcp", "dev", "version", "completion", "help"} {
			if !strings.Contains(stdout.String(), "\n  "+name+" ") {
				t.Errorf("%q does not list %s:\n%s", args, name, stdout.String())
			}
		}
	}
}

func TestEachCommandHasHelpAndRefusesUnknownFlags(t *testing.T) {
	for _, cmd := range commands(rootCommand()) {
		name := words(cmd)
		var help, stdout, stderr bytes.Buffer
		if code := run(t.Context(), append(name, "-h"), &help, &stderr); code != 0 || !strings.HasPrefix(help.String(), "usage: "+cmd.CommandPath()) || stderr.Len() > 0 {
			t.Errorf("%q -h = %d, %q on standard error, want 0 and a usage on standard output:\n%s", name, code, stderr.String(), help.String())
		}
		var again bytes.Buffer
		if run(t.Context(), append([]string{"help"}, name...), &again, &stderr); again.String() != help.String() {
			t.Errorf("help %q differs from %[1]q -h:\n%s", name, again.String())
		}
		stderr.Reset()
		code := run(t.Context(), append(name, "--no-such-flag"), &stdout, &stderr)
		if code != 2 || stdout.Len() > 0 || !saysWhatToDo(stderr.String()) || strings.Count(stderr.String(), "no-such-flag") != 1 {
			t.Errorf("%q --no-such-flag = %d, %q, want 2 and one line that names the flag", name, code, stderr.String())
		}
	}
}

// flagValues are two values for a flag, neither of them its default.
func flagValues(t *testing.T, f *pflag.Flag) (one, other string) {
	t.Helper()
	switch kind := f.Value.Type(); kind {
	case "string", "stringArray", "stringSlice", "list":
		return "one", "other"
	case "int", "int64", "uint":
		return "17", "18"
	case "float64":
		return "0.25", "0.75"
	case "duration":
		return "17s", "18s"
	case "bool":
		return map[string]string{"true": "false", "false": "true"}[f.DefValue], f.DefValue
	case "": // a TextUnmarshaler
		return "ERROR", "DEBUG"
	default:
		t.Fatalf("no values for --%s, a %s", f.Name, kind)
		return "", ""
	}
}

// calledWith runs a command without its effect, and returns what a flag is set to.
func calledWith(t *testing.T, name []string, flag string, args ...string) (value string, code int, stderr string) {
	t.Helper()
	root := rootCommand()
	cmd, _, err := root.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(*cobra.Command, []string) error { return nil }
	cmd.Flags().VisitAll(func(f *pflag.Flag) { delete(f.Annotations, cobra.BashCompOneRequiredFlag) })
	var stdout, errs bytes.Buffer
	code = cli.Run(t.Context(), root, append(name, args...), nil, &stdout, &errs)
	return cmd.Flags().Lookup(flag).Value.String(), code, errs.String()
}

func TestEachFlagHasAnEnvironmentVariableAndWinsOverIt(t *testing.T) {
	for _, cmd := range commands(rootCommand()) {
		name := words(cmd)
		var help, stderr bytes.Buffer
		run(t.Context(), append(name, "-h"), &help, &stderr)
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			variable := "AUTHSEC_" + strings.ToUpper(strings.NewReplacer(" ", "_", "-", "_").Replace(strings.Join(name, " ")+"_"+f.Name))
			if !strings.Contains(help.String(), " "+variable+"\n") {
				t.Errorf("%q -h does not name %s", name, variable)
			}
			one, other := flagValues(t, f)
			byFlag, _, _ := calledWith(t, name, f.Name, "--"+f.Name+"="+one)
			otherByFlag, _, _ := calledWith(t, name, f.Name, "--"+f.Name+"="+other)
			t.Setenv(variable, " "+one+" ")
			if got, code, errs := calledWith(t, name, f.Name); got != byFlag || code != 0 || got == f.DefValue {
				t.Errorf("%s=%s: %q, exit code %d, want %q: %s", variable, one, got, code, byFlag, errs)
			}
			if got, code, errs := calledWith(t, name, f.Name, "--"+f.Name+"="+other); got != otherByFlag || code != 0 {
				t.Errorf("%s=%s with --%s=%s: %q, exit code %d, want %q: %s", variable, one, f.Name, other, got, code, otherByFlag, errs)
			}
			t.Setenv(variable, " ")
			if got, code, errs := calledWith(t, name, f.Name); got != f.Value.String() || code != 0 {
				t.Errorf("%s empty: %q, exit code %d, want the default, %q: %s", variable, got, code, f.Value, errs)
			}
			switch f.Value.Type() {
			case "int", "int64", "uint", "duration", "bool", "float64", "":
				t.Setenv(variable, "no value")
				if _, code, errs := calledWith(t, name, f.Name); code != 2 || !strings.Contains(errs, variable) || !saysWhatToDo(errs) {
					t.Errorf("%s malformed: exit code %d, %q, want 2 and its name", variable, code, errs)
				}
				t.Setenv(variable, "")
			}
		})
	}
}

func TestAVariableIsCheckedLikeItsFlag(t *testing.T) {
	agent(t)
	for _, tc := range []struct{ variable, value, want string }{
		{"AUTHSEC_PROXY_DRAIN", "soon", "AUTHSEC_PROXY_DRAIN"},
		{"AUTHSEC_PROXY_DRAIN", "-1s", "--drain is negative"},
		{"AUTHSEC_PROXY_UPSTREAM", "https://a.example/?q", "--upstream has a query"},
	} {
		t.Setenv("AUTHSEC_PROXY_UPSTREAM", "https://a.example")
		t.Setenv("AUTHSEC_PROXY_DRAIN", "")
		t.Setenv(tc.variable, tc.value)
		if code, lines := fails(t, "proxy"); code != 2 || !strings.Contains(lines, tc.want) {
			t.Errorf("%s=%s: proxy = %d, %q, want 2 and %q", tc.variable, tc.value, code, lines, tc.want)
		}
	}
}

func TestAWrongCallSaysWhatIsRight(t *testing.T) {
	for _, tc := range []struct {
		args string
		want string
	}{
		{"", "no command is named"},
		{"smok", "did you mean authsec smoke?"},
		{"toke", "did you mean authsec token?"},
		{"nonsense", "see authsec --help"},
		{"help nonsense", "see authsec --help"},
		{"smoke extra", `unexpected argument "extra"`},
		{"smoke --x", "unknown flag: --x"},
		{"smoke -x", "unknown flag -x"},
		{"token -json", "write two hyphens: --json"},
		{"proxy -upstream=https://a.example", "write two hyphens: --upstream"},
		{"proxy -health :1", "write two hyphens: --health"},
		{"fetch", "0 URLs, want one"},
		{"fetch --timeout", "timeout"},
		{"completion nonsense", "nonsense"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), strings.Fields(tc.args), &stdout, &stderr)
		if code != 2 || stdout.Len() > 0 || !strings.Contains(stderr.String(), tc.want) || !saysWhatToDo(stderr.String()) && tc.args != "" {
			t.Errorf("%q = %d, %d bytes on standard output, %q, want 2, none, and %q", tc.args, code, stdout.Len(), stderr.String(), tc.want)
		}
	}
}
