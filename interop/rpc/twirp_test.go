// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/interop/internal/itest"
	"github.com/twitchtv/twirp"
	"github.com/twitchtv/twirp/example"
)

// twirpClient returns a client of a generated service.
func twirpClient(cfg authsec.Config, url string) (*http.Client, example.Haberdasher, error) {
	// docs: begin twirp
	httpClient, err := authsec.NewClient(cfg)
	if err != nil {
		return nil, nil, err
	}
	client := example.NewHaberdasherProtobufClient(url, httpClient) // yours is generated, too
	// docs: end twirp
	return httpClient, client, nil
}

type haberdasher struct{}

func (haberdasher) MakeHat(_ context.Context, size *example.Size) (*example.Hat, error) {
	return &example.Hat{Size: size.Inches}, nil
}

func TestTwirp(t *testing.T) {
	itest.Library{
		API: example.NewHaberdasherServer(haberdasher{}),
		Connect: func(cfg authsec.Config, url string) (*http.Client, map[string]func(context.Context) error, error) {
			httpClient, c, err := twirpClient(cfg, url)
			return httpClient, map[string]func(context.Context) error{"POST": func(ctx context.Context) error {
				hat, err := c.MakeHat(ctx, &example.Size{Inches: 12})
				if err == nil && hat.Size != 12 {
					return fmt.Errorf("size: %d", hat.Size)
				}
				return err
			}}, err
		},
		Rejected: func(err error) bool {
			e, ok := errors.AsType[twirp.Error](err)
			return ok && e.Code() == twirp.Unauthenticated
		},
		Attempts:           map[string][2]int{"POST": {1, 1}},
		FollowsNoRedirects: true,
	}.Test(t)
}
