// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Command oauth2-library gives a Source to a library that takes an oauth2.TokenSource:
// GitLab's client. The library adds the token itself.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/authsec-go/authsec"
	gitlab "gitlab.com/gitlab-org/api/client-go/v2"
)

func main() {
	cfg, err := authsec.ConfigFromEnv() // AUTHSEC_BASE_URL, AUTHSEC_AGENT_CLIENT_ID
	if err != nil {
		log.Fatal(err)
	}
	src, err := authsec.NewSource(cfg)
	if err != nil {
		log.Fatal(err)
	}
	client, err := gitlab.NewAuthSourceClient(
		gitlab.OAuthTokenSource{TokenSource: src},
		gitlab.WithBaseURL(os.Getenv("DOWNSTREAM_URL")),
	)
	if err != nil {
		log.Fatal(err)
	}
	version, _, err := client.Version.GetVersion(gitlab.WithContext(context.Background()))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("GitLab", version.Version)
}
