// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package google

import (
	"testing"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/interop/internal/itest"
	"google.golang.org/api/drive/v3"
	"google.golang.org/api/option"
)

func TestGoogleAndGitHubDoNotLeak(t *testing.T) {
	t.Run("google", func(t *testing.T) {
		itest.New(t).CheckStays(t, func(cfg authsec.Config, url string) {
			service, _, err := googleAPI(t.Context(), cfg, url)
			if err != nil {
				t.Fatal(err)
			}
			service.Files.List().Context(t.Context()).Do()
		})
	})
	t.Run("github", func(t *testing.T) {
		itest.New(t).CheckStays(t, func(cfg authsec.Config, url string) {
			gh, _, err := gitHub(cfg, url)
			if err != nil {
				t.Fatal(err)
			}
			gh.Repositories.Get(t.Context(), "o", "r")
		})
	})
}

// With WithTokenSource, the library sends the token wherever it is redirected, over plain
// HTTP, too.
func TestGoogleAPIWithTokenSourceLeaks(t *testing.T) {
	requests, tokens := itest.New(t).Stray(t, func(cfg authsec.Config, url string) {
		src, err := authsec.NewSource(cfg)
		if err != nil {
			t.Fatal(err)
		}
		service, err := drive.NewService(t.Context(), option.WithTokenSource(src), option.WithEndpoint(url))
		if err != nil {
			t.Fatal(err)
		}
		service.Files.List().Context(t.Context()).Do()
	})
	if requests != 4 || tokens != 4 {
		t.Errorf("%d of %d requests to other hosts have a token, want 4 of 4: remove the warning from the documentation", tokens, requests)
	}
}
