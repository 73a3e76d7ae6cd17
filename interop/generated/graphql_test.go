// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package generated uses what generated clients run on, with APIs that accept delegation
// tokens.
package generated

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/Khan/genqlient/graphql"
	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/interop/internal/itest"
)

// graphQL makes a client for the functions that genqlient generates.
func graphQL(cfg authsec.Config, url string) (*http.Client, graphql.Client, error) {
	// docs: begin genqlient
	httpClient, err := authsec.NewClient(cfg)
	if err != nil {
		return nil, nil, err
	}
	client := graphql.NewClient(url+"/graphql", httpClient)
	// docs: end genqlient
	return httpClient, client, nil
}

func TestGenqlient(t *testing.T) {
	ask := func(client graphql.Client) func(context.Context) error {
		return func(ctx context.Context) error { // as generated functions do
			var data struct{ Bill string }
			err := client.MakeRequest(ctx, &graphql.Request{OpName: "Bill", Query: "query Bill { bill }"}, &graphql.Response{Data: &data})
			if err == nil && data.Bill != "to be paid" {
				return fmt.Errorf("bill: %q", data.Bill)
			}
			return err
		}
	}
	itest.Library{
		API: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"data":{"bill":"to be paid"}}`) }),
		Connect: func(cfg authsec.Config, url string) (*http.Client, map[string]func(context.Context) error, error) {
			httpClient, c, err := graphQL(cfg, url)
			return httpClient, map[string]func(context.Context) error{
				"POST": ask(c),
				"GET":  ask(graphql.NewClientUsingGet(url+"/graphql", httpClient)),
			}, err
		},
		Rejected: func(err error) bool {
			e, ok := errors.AsType[*graphql.HTTPError](err)
			return ok && e.StatusCode == http.StatusUnauthorized
		},
		Attempts: map[string][2]int{"POST": {1, 1}, "GET": {4, 1}},
	}.Test(t)
}
