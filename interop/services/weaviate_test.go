// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package services_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/authsec-go/authsec"
	"github.com/weaviate/weaviate-go-client/v5/weaviate"
	"github.com/weaviate/weaviate-go-client/v5/weaviate/fault"
	weaviategrpc "github.com/weaviate/weaviate-go-client/v5/weaviate/grpc"
	"github.com/weaviate/weaviate/entities/models"
)

// newWeaviate returns a client of the server at host, which may have a port.
func newWeaviate(cfg authsec.Config, host string) (*weaviate.Client, *authsec.Transport, error) {
	// docs: begin weaviate
	httpClient, err := authsec.NewClient(cfg)
	if err != nil {
		return nil, nil, err
	}
	client, err := weaviate.NewClient(weaviate.Config{
		Scheme:           "https",
		Host:             host,
		ConnectionClient: httpClient, // without AuthConfig, which is for other tokens
	})
	// docs: end weaviate
	return client, transportOf(httpClient), err
}

// docs: begin weaviate-error

// notDelegated reports whether an error of weaviate's client is ErrNotDelegated. Its
// errors have no Unwrap.
func notDelegated(err error) bool {
	var failed *fault.WeaviateClientError
	if errors.As(err, &failed) {
		err = failed.DerivedFromError
	}
	return errors.Is(err, authsec.ErrNotDelegated)
}

// docs: end weaviate-error

var weaviateLibrary = library{
	service: schema(),
	connect: func(cfg authsec.Config, url string) (send, *authsec.Transport, error) {
		client, transport, err := newWeaviate(cfg, strings.TrimPrefix(url, "https://"))
		return weaviateSend(client), transport, err
	},
	over: func(transport *authsec.Transport, url string, _ bool) (send, error) { // it has no retries
		client, err := weaviate.NewClient(weaviate.Config{
			Scheme: "https", Host: strings.TrimPrefix(url, "https://"), ConnectionClient: &http.Client{Transport: transport},
		})
		return weaviateSend(client), err
	},
	is401: func(err error) bool {
		answer, ok := errors.AsType[*fault.WeaviateClientError](err)
		return ok && answer.StatusCode == http.StatusUnauthorized
	},
	hides:   true,
	replays: true,
	tries:   1,
	attempts: map[string]attempts{
		"GET":  {both: 4, library: 1, transport: 4},
		"PUT":  {both: 4, library: 1, transport: 4},
		"POST": {both: 1, library: 1, transport: 1},
	},
}

func weaviateSend(client *weaviate.Client) send {
	return func(ctx context.Context, method, body string) (err error) {
		bill := &models.Class{Class: "Bill", Description: body}
		switch method {
		case http.MethodGet:
			_, err = client.Schema().ClassGetter().WithClassName("Bill").Do(ctx)
		case http.MethodPut:
			err = client.Schema().ClassUpdater().WithClass(bill).Do(ctx)
		case http.MethodPost:
			err = client.Schema().ClassCreator().WithClass(bill).Do(ctx)
		}
		return err
	}
}

// schema is a part of Weaviate's API: one class.
func schema() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/schema/Bill", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"class":"Bill"}`)
	})
	write := func(w http.ResponseWriter, r *http.Request) {
		var class models.Class
		if err := json.NewDecoder(r.Body).Decode(&class); err != nil || !strings.Contains(class.Description, "bill") {
			http.Error(w, "no bill", http.StatusBadRequest)
		}
	}
	mux.HandleFunc("PUT /v1/schema/Bill", write)
	mux.HandleFunc("POST /v1/schema", write)
	return mux
}

func TestWeaviateError(t *testing.T) {
	ctx, s := timely(t), newStack(t)
	call, _ := weaviateLibrary.start(t, s)
	if err := call(ctx, http.MethodGet, ""); err != nil {
		t.Fatal(err)
	}
	s.revoke()
	if err := call(ctx, http.MethodGet, ""); err == nil || notDelegated(err) {
		t.Errorf("after the revocation: %v, want the API's 401", err)
	}
	if err := call(ctx, http.MethodGet, ""); !notDelegated(err) {
		t.Errorf("notDelegated(err) = false, want true: %v", err)
	}
}

// With a GrpcConfig, batches and searches take a connection of their own. It has no
// token, and does not verify the server's certificate.
func TestWeaviateGRPCHasNoToken(t *testing.T) {
	ctx, s := timely(t), newStack(t)
	api := s.api(t, nil)
	host := strings.TrimPrefix(api.URL, "https://")
	transport, err := authsec.NewTransport(s.config(api.URL))
	if err != nil {
		t.Fatal(err)
	}
	client, err := weaviate.NewClient(weaviate.Config{
		Scheme: "https", Host: host, ConnectionClient: &http.Client{Transport: transport},
		GrpcConfig: &weaviategrpc.Config{Host: host, Secured: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	object := &models.Object{Class: "Bill", Properties: map[string]any{"text": short}}
	if _, err := client.Batch().ObjectsBatcher().WithObjects(object).Do(ctx); err == nil {
		t.Error("no error without a token")
	}
	made := s.requests()
	last := made[len(made)-1] // over a connection to a server with an unknown certificate
	if last.path != "/weaviate.v1.Weaviate/BatchObjects" || last.token != "" {
		t.Errorf("the last of %v: has a token: %t, want a batch without one", made, last.token != "")
	}
}
