// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/interop/internal/itest"
	"github.com/slack-go/slack"
)

// newSlack makes a client for a gateway with Slack's API at url.
func newSlack(cfg authsec.Config, url string) (*http.Client, *slack.Client, error) {
	// docs: begin slack
	httpClient, err := authsec.NewClient(cfg)
	if err != nil {
		return nil, nil, err
	}
	client := slack.New("none", // the token takes its place in the header; in forms it stays
		slack.OptionAPIURL(url+"/api/"),
		slack.OptionHTTPClient(httpClient))
	// docs: end slack
	return httpClient, client, nil
}

func TestSlack(t *testing.T) {
	api := http.NewServeMux()
	api.HandleFunc("POST /api/users.info", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("token") != "none" {
			http.Error(w, "another token in the form", http.StatusBadRequest)
			return
		}
		fmt.Fprint(w, `{"ok":true,"user":{"id":"U1"}}`)
	})
	api.HandleFunc("POST /api/chat.postMessage", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"ok":true,"channel":%q,"ts":"1"}`, r.FormValue("channel"))
	})
	itest.Library{
		API: api,
		Connect: func(cfg authsec.Config, url string) (*http.Client, map[string]func(context.Context) error, error) {
			httpClient, c, err := newSlack(cfg, url)
			return httpClient, map[string]func(context.Context) error{
				"users.info": func(ctx context.Context) error {
					user, err := c.GetUserInfoContext(ctx, "U1")
					if err == nil && user.ID != "U1" {
						return fmt.Errorf("user: %q", user.ID)
					}
					return err
				},
				"chat.postMessage": func(ctx context.Context) error {
					channel, _, err := c.PostMessageContext(ctx, "C1", slack.MsgOptionText("hello", false))
					if err == nil && channel != "C1" {
						return fmt.Errorf("channel: %q", channel)
					}
					return err
				},
			}, err
		},
		Rejected: func(err error) bool {
			e, ok := errors.AsType[slack.StatusCodeError](err)
			return ok && e.Code == http.StatusUnauthorized
		},
		Attempts: map[string][2]int{"users.info": {1, 1}, "chat.postMessage": {1, 1}}, // all are POST
	}.Test(t)
}
