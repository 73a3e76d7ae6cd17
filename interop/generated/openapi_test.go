// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package generated

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/interop/internal/itest"
	"github.com/go-openapi/runtime"
	openapi "github.com/go-openapi/runtime/client"
	"github.com/go-openapi/strfmt"
)

// openAPI makes the transport of a client that go-swagger generates. api is the API's
// URL.
func openAPI(cfg authsec.Config, api *url.URL) (*http.Client, *openapi.Runtime, error) {
	// docs: begin go-openapi
	httpClient, err := authsec.NewClient(cfg)
	if err != nil {
		return nil, nil, err
	}
	transport := openapi.NewWithClient(api.Host, api.Path, []string{api.Scheme}, httpClient)
	// docs: end go-openapi
	return httpClient, transport, nil
}

// bill gets or puts a bill, as generated code does.
func bill(transport *openapi.Runtime, method string) func(context.Context) error {
	return func(ctx context.Context) error {
		got, err := transport.SubmitContext(ctx, &runtime.ClientOperation{
			ID: "bill", Method: method, PathPattern: "/bills/{id}",
			ProducesMediaTypes: []string{"application/json"}, ConsumesMediaTypes: []string{"application/json"},
			Params: runtime.ClientRequestWriterFunc(func(req runtime.ClientRequest, _ strfmt.Registry) error {
				if method == http.MethodGet {
					return req.SetPathParam("id", "42")
				}
				return errors.Join(req.SetPathParam("id", "42"), req.SetBodyParam(map[string]string{"state": "paid"}))
			}),
			Reader: runtime.ClientResponseReaderFunc(func(resp runtime.ClientResponse, consumer runtime.Consumer) (any, error) {
				if resp.Code() != http.StatusOK {
					return nil, runtime.NewAPIError("bill", resp.Message(), resp.Code())
				}
				var state map[string]string
				err := consumer.Consume(resp.Body(), &state)
				return state["state"], err
			}),
		})
		if err == nil && got != "paid" {
			return fmt.Errorf("state: %q", got)
		}
		return err
	}
}

func TestGoOpenAPI(t *testing.T) {
	itest.Library{
		API: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/bills/42" {
				http.NotFound(w, r)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"state":"paid"}`)
		}),
		Connect: func(cfg authsec.Config, rawURL string) (*http.Client, map[string]func(context.Context) error, error) {
			api, err := url.Parse(rawURL)
			if err != nil {
				return nil, nil, err
			}
			httpClient, transport, err := openAPI(cfg, api)
			return httpClient, map[string]func(context.Context) error{
				"GET":  bill(transport, http.MethodGet),
				"PUT":  bill(transport, http.MethodPut),
				"POST": bill(transport, http.MethodPost),
			}, err
		},
		// Generated code has an error type for each status that the specification lists.
		Rejected: func(err error) bool {
			e, ok := errors.AsType[*runtime.APIError](err)
			return ok && e.Code == http.StatusUnauthorized
		},
		Attempts: map[string][2]int{"GET": {4, 1}, "PUT": {4, 1}, "POST": {1, 1}},
	}.Test(t)
}
