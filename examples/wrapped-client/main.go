// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Command wrapped-client authenticates an http.Client that a program has already. The
// client keeps its time-out, its cookies and its transport. The program tells what to
// do when a call fails, and logs the events of the token's life.
package main

import (
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"os"
	"time"

	"github.com/authsec-go/authsec"
)

func main() {
	jar, err := cookiejar.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	client := &http.Client{Timeout: 30 * time.Second, Jar: jar} // the client that you have

	if err := authenticate(client); err != nil {
		log.Fatal(err)
	}
	resp, err := client.Get(os.Getenv("DOWNSTREAM_URL"))
	switch {
	case errors.Is(err, authsec.ErrNotDelegated):
		log.Fatal("an admin must delegate to this agent: ", err)
	case errors.Is(err, authsec.ErrRateLimited):
		log.Fatal("too many requests to the AuthSec server; try again later: ", err)
	case err != nil:
		log.Fatal(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
}

// authenticate makes client send the agent's token to the API, and nowhere else.
func authenticate(client *http.Client) error {
	cfg, err := authsec.ConfigFromEnv() // AUTHSEC_BASE_URL, AUTHSEC_AGENT_CLIENT_ID, DOWNSTREAM_URL
	if err != nil {
		return err
	}
	cfg.Logger = slog.Default()
	src, err := authsec.NewSource(cfg) // one for all clients of the process
	if err != nil {
		return err
	}
	client.Transport = &authsec.Transport{
		Source: src,
		Base:   client.Transport, // nil means http.DefaultTransport here, too
		Hosts:  cfg.Hosts,
		Logger: cfg.Logger,
	}
	return nil
}
