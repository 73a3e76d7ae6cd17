// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package services_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/authsec-go/authsec"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"
	moby "github.com/moby/moby/client"
)

// newMoby returns a client of the daemon at host, such as tcp://docker.example.com:2376.
func newMoby(cfg authsec.Config, host string) (*moby.Client, *authsec.Transport, error) {
	// docs: begin moby
	httpClient, err := authsec.NewClient(cfg)
	if err != nil {
		return nil, nil, err
	}
	httpClient.CheckRedirect = moby.CheckRedirect // as the library's own http.Client has it
	client, err := moby.New(
		moby.WithHost(host),             // first: it wants an http.Transport
		moby.WithHTTPClient(httpClient), // replaces the http.Client
		moby.WithScheme("https"),        // otherwise http: the library finds no TLS settings
		moby.WithAPIVersion("1.52"))     // otherwise the library asks for it
	// docs: end moby
	return client, transportOf(httpClient), err
}

var mobyLibrary = library{
	service: daemon(),
	connect: func(cfg authsec.Config, url string) (send, *authsec.Transport, error) {
		client, transport, err := newMoby(cfg, strings.Replace(url, "https://", "tcp://", 1))
		return mobySend(client), transport, err
	},
	over: func(transport *authsec.Transport, url string, _ bool) (send, error) { // it has no retries
		client, err := moby.New(moby.WithHost(strings.Replace(url, "https://", "tcp://", 1)),
			moby.WithHTTPClient(&http.Client{Transport: transport}), moby.WithScheme("https"), moby.WithAPIVersion("1.52"))
		return mobySend(client), err
	},
	is401:   errdefs.IsUnauthorized,
	replays: true,
	tries:   1,
	attempts: map[string]attempts{
		"GET":  {both: 4, library: 1, transport: 4},
		"PUT":  {both: 4, library: 1, transport: 4},
		"POST": {both: 1, library: 1, transport: 1},
	},
}

func mobySend(client *moby.Client) send {
	return func(ctx context.Context, method, body string) (err error) {
		switch method {
		case http.MethodGet:
			_, err = client.ContainerList(ctx, moby.ContainerListOptions{})
		case http.MethodPut:
			_, err = client.CopyToContainer(ctx, "bills", moby.CopyToContainerOptions{DestinationPath: "/", Content: strings.NewReader(body)})
		case http.MethodPost:
			_, err = client.ConfigCreate(ctx, moby.ConfigCreateOptions{Spec: swarm.ConfigSpec{Data: []byte(body)}})
		}
		return err
	}
}

// daemon is a part of the Docker Engine's API.
func daemon() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_ping", func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Api-Version", "1.52") })
	mux.HandleFunc("GET /v1.52/containers/json", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "[]") })
	mux.HandleFunc("PUT /v1.52/containers/bills/archive", func(w http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err != nil || !strings.Contains(string(body), "bill") {
			http.Error(w, "no bill", http.StatusBadRequest)
		}
	})
	mux.HandleFunc("POST /v1.52/configs/create", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, `{"ID":"1"}`)
	})
	return mux
}
