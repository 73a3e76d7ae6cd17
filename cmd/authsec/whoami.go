// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/cmd/authsec/internal/cli"
	"github.com/spf13/cobra"
)

// identity is what whoami --json prints. It has no token, and the client ID is
// shortened wherever it stands: on older servers it alone gets the token.
type identity struct {
	Server      string    `json:"server"`
	SPIFFEID    string    `json:"spiffe_id"`
	ClientID    string    `json:"client_id"`
	TenantID    string    `json:"tenant_id,omitempty"`
	Permissions []string  `json:"permissions"`
	Audience    []string  `json:"audience"`
	DelegatedAt time.Time `json:"delegated_at,omitzero"`
	ExpiresAt   time.Time `json:"expires_at"`
}

func whoamiCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "whoami",
		Short: "Say who the agent is, what it may do, until when, and which server says so",
		Long: `Asks the AuthSec server who the agent is and what is delegated to it. The output has
no token, and only the beginning of the client ID, so it can be shown to others. The
token itself is not verified: an API that receives it does that.`,
	}
	asJSON := cmd.Flags().Bool("json", false, "print one JSON object instead of lines")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		who, err := whoami(cmd.Context())
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(cmd, who)
		}
		return unwritten(who.write(cmd.OutOrStdout(), time.Now()))
	}
	return cmd
}

// whoami asks the server.
func whoami(ctx context.Context) (*identity, error) {
	src, cfg, err := sourceFromEnv(nil, func(*authsec.Config) {})
	if err != nil {
		return nil, wrongEnvironment(err)
	}
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	d, err := src.Delegation(noDeadline{ctx})
	if err != nil {
		return nil, cli.Advise(err, advice(err))
	}
	expiry := src.Stats().Expiry // on this machine's clock
	if expiry.IsZero() {
		expiry = d.ExpiresAt
	}
	hide := hider(d.ClientID)
	hideAll := func(list []string) []string {
		shown := make([]string, len(list))
		for i, text := range list {
			shown[i] = hide(text)
		}
		return shown
	}
	return &identity{
		Server:      cfg.BaseURL,
		SPIFFEID:    hide(d.SPIFFEID),
		ClientID:    hide(d.ClientID),
		TenantID:    hide(d.TenantID),
		Permissions: hideAll(d.Permissions),
		Audience:    hideAll(d.Audience),
		DelegatedAt: d.UpdatedAt,
		ExpiresAt:   expiry.UTC(),
	}, nil
}

// write writes the identity for people.
func (who *identity) write(w io.Writer, now time.Time) error {
	var b strings.Builder
	line := func(name, value string) {
		if value == "" {
			value = "(none)"
		}
		fmt.Fprintf(&b, "%-12s %s\n", name, value)
	}
	line("agent", who.SPIFFEID)
	line("client ID", who.ClientID)
	line("tenant", who.TenantID)
	line("permissions", strings.Join(who.Permissions, " "))
	line("audience", strings.Join(who.Audience, " "))
	line("expires", fmt.Sprintf("%s, in %v", who.ExpiresAt.Format(time.RFC3339), who.ExpiresAt.Sub(now).Round(time.Second)))
	line("server", who.Server)
	_, err := io.WriteString(w, b.String())
	return err
}
