// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/authsec-go/authsec/internal/conn"
	"github.com/authsec-go/authsec/internal/hosts"
)

// NewClient returns a client that sends the agent's delegation token to cfg.Hosts:
// an [http.Client] with the Transport of [NewTransport] and no Timeout. It makes no
// request. Its error joins all faults of cfg.
func NewClient(cfg Config) (*http.Client, error) {
	t, err := NewTransport(cfg)
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: t}, nil
}

// NewTransport returns a [Transport] over a new [Source], with cfg's Hosts and
// Logger. Its Base is a copy of [http.DefaultTransport] that all such Transports
// share. It closes an HTTP/2 connection that has not answered for 9 s. cfg's HTTPClient and
// Retry apply to the AuthSec server only. The caller may set the Transport's other
// fields before the first request. NewTransport makes no request. Its error joins all
// faults of cfg.
func NewTransport(cfg Config) (*Transport, error) {
	var hostsErr error
	if len(cfg.Hosts) == 0 {
		hostsErr = fmt.Errorf("authsec: Config.Hosts is empty (in the environment: %s, or %s): %s", envHosts, envDownstream, hosts.Syntax)
	}
	src, err := NewSource(cfg)
	if err := errors.Join(err, hostsErr); err != nil {
		return nil, err
	}
	t := &Transport{Source: src, Hosts: slices.Clone(cfg.Hosts), Logger: cfg.Logger}
	if base, ok := conn.Shared().(*http.Transport); ok {
		t.Base = base
	}
	return t, nil
}
