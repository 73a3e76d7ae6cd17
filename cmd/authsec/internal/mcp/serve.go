// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/cmd/authsec/internal/cli"
	"github.com/authsec-go/authsec/fetchtool"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/spf13/cobra"
)

// Command returns the command mcp with its subcommands.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mcp",
		Short: "Secure fetch as an MCP tool, and protected MCP servers for any MCP host",
	}
	cmd.AddCommand(serveCommand(), connectCommand())
	return cmd
}

// serving is what the flags of serve say.
type serving struct {
	config fetchtool.Config
	listen string
}

func serveCommand() *cobra.Command {
	var s serving
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve an MCP tool that fetches from a protected API with this agent's delegation",
		Long: `Serve an MCP tool that fetches from a protected API with this agent's delegation.

The tool is served on standard input and output, as MCP hosts start it, or with
--http on this machine's loopback address. The agent and its AuthSec server come from
AUTHSEC_BASE_URL and AUTHSEC_AGENT_CLIENT_ID.

A model reaches nothing but --url and what lies below it, with --method. It never
sees the token. Messages about the server go to standard error.`,
		Example: `  authsec mcp serve --url https://api.example.com/v1
  authsec mcp serve --url https://api.example.com/v1 --method GET,POST --permission billing:read
  authsec mcp serve --url https://api.example.com/v1 --http 127.0.0.1:8080`,
		RunE:        func(cmd *cobra.Command, _ []string) error { return s.run(cmd) },
		Annotations: map[string]string{cli.Drains: "HTTP"},
	}
	f := cmd.Flags()
	f.StringArrayVar(&s.config.DownstreamURLs, "url", nil, "what may be fetched: this URL and every URL below it; repeat it for more (default: DOWNSTREAM_URL)")
	f.StringSliceVar(&s.config.Methods, "method", []string{"GET"}, "the HTTP methods that a model may use, of GET, HEAD, POST, PUT, PATCH, DELETE")
	f.StringSliceVar(&s.config.Permissions, "permission", nil, "a permission without which a call fails before it is sent, such as billing:read; repeat it for more")
	f.IntVar(&s.config.MaxAnswer, "max-answer", fetchtool.DefaultMaxAnswer, "how many bytes of an answer's text a model gets")
	f.IntVar(&s.config.MaxBody, "max-body", fetchtool.DefaultMaxBody, "how many bytes a request's body may have")
	f.DurationVar(&s.config.Timeout, "timeout", fetchtool.DefaultTimeout, "how long a call may take in all")
	f.BoolVar(&s.config.AllowHTTP, "allow-http", false, "permit --url with http:// to another machine: whoever can read the traffic then has the token")
	f.StringVar(&s.config.Name, "name", fetchtool.DefaultName, "the tool's name for a model")
	f.StringVar(&s.config.Description, "description", "", "what a model is told about the tool (default: that it fetches, and the permitted URLs and methods)")
	f.StringVar(&s.listen, "http", "", "serve over streamable HTTP at this loopback address, such as 127.0.0.1:8080, not on standard input and output: every program on this machine can then use the tool")
	return cmd
}

func (s *serving) run(cmd *cobra.Command) error {
	ctx, log := cmd.Context(), newLog(cmd.ErrOrStderr())
	if s.listen != "" {
		if err := checkLoopback(s.listen); err != nil {
			return err
		}
	}
	cfg := s.config
	for i, method := range cfg.Methods {
		cfg.Methods[i] = strings.ToUpper(strings.TrimSpace(method))
	}
	if len(cfg.DownstreamURLs) == 0 {
		if url := strings.TrimSpace(os.Getenv("DOWNSTREAM_URL")); url != "" {
			cfg.DownstreamURLs = []string{url}
		}
	}
	switch {
	case len(cfg.DownstreamURLs) == 0:
		return cli.Advise(cli.Usagef("there is no --url, so nothing may be fetched"), "give one, such as --url https://api.example.com/v1, or set DOWNSTREAM_URL")
	case cfg.Timeout <= 0:
		return cli.Usagef("--timeout %v: it must be longer than zero", cfg.Timeout)
	case cfg.MaxAnswer == 0 || cfg.MaxBody == 0:
		return cli.Usagef("--max-answer and --max-body must be greater than zero")
	}
	env, err := authsec.ConfigFromEnv()
	if err != nil {
		return cli.Advise(err, "set the environment as named above")
	}
	env.Hosts, env.Logger = nil, log // the token's hosts are those of --url
	if cfg.Source, err = authsec.NewSource(env); err != nil {
		return cli.Advise(err, "set the environment as named above")
	}
	cfg.AuthSec.Logger = log
	tool, err := fetchtool.New(cfg)
	if err != nil {
		return configError(err)
	}
	server := newServer(tool, cfg.Methods, version(), log)
	if s.listen != "" {
		return serveHTTP(ctx, server, s.listen, lineLimit(cfg.MaxBody), log)
	}
	return serveStdio(ctx, server, cmd.InOrStdin(), cmd.OutOrStdout(), lineLimit(cfg.MaxBody))
}

// configError is the error of fetchtool.New, in this command's words: nearly all of
// what it checks comes from flags.
func configError(err error) error {
	var words = strings.NewReplacer(
		"fetchtool: Config.", "", "AllowHTTP", "--allow-http", "DownstreamURLs", "--url", "Methods", "--method", "Permissions", "--permission",
		"MaxAnswer", "--max-answer", "MaxBody", "--max-body", "Timeout", "--timeout", "Name", "--name")
	return cli.Usagef("%s", words.Replace(cli.OneLine(err.Error())))
}

// lineLimit is how long a message may be. JSON takes at most 6 bytes for one.
func lineLimit(maxBody int) int { return max(4<<20, 6*maxBody+1<<20) }

// closing is how long the end of a session may take after a signal.
const closing = time.Second

// serveStdio serves until the input ends or ctx does.
func serveStdio(ctx context.Context, server *mcp.Server, in io.Reader, out io.Writer, limit int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &lineWriter{w: out, failed: func(err error) { cancel(fmt.Errorf("standard output can't be written: %w", err)) }}
	session, err := server.Connect(ctx, newStdio(in, w, limit), nil)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- session.Wait() }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		select { // calls are cancelled, and the host may not read what is written
		case <-ended:
		case <-time.After(closing):
		}
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return err
}

// newLog returns a logger that writes to standard error.
func newLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// version is this program's version, for the peer.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
