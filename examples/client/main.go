// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Command client calls a protected API: the shortest complete program.
package main

import (
	"io"
	"log"
	"os"

	"github.com/authsec-go/authsec"
)

func main() {
	cfg, err := authsec.ConfigFromEnv() // AUTHSEC_BASE_URL, AUTHSEC_AGENT_CLIENT_ID, DOWNSTREAM_URL
	if err != nil {
		log.Fatal(err)
	}
	client, err := authsec.NewClient(cfg) // a plain *http.Client
	if err != nil {
		log.Fatal(err)
	}
	resp, err := client.Get(os.Getenv("DOWNSTREAM_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(os.Stdout, resp.Body); err != nil {
		log.Fatal(err)
	}
}
