// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package services_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/authsec-go/authsec"
)

// azureOptions returns options for a client of Azure's SDK.
func azureOptions(cfg authsec.Config) (policy.ClientOptions, *authsec.Transport, error) {
	// docs: begin azcore
	client, err := authsec.NewClient(cfg)
	if err != nil {
		return policy.ClientOptions{}, nil, err
	}
	options := policy.ClientOptions{
		Transport: client,
		Retry:     policy.RetryOptions{MaxRetries: -1}, // none: the Transport retries
	}
	// docs: end azcore
	return options, transportOf(client), nil
}

var azcoreLibrary = library{
	service: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodGet && !strings.Contains(string(body), "bill") {
			http.Error(w, "no bill", http.StatusBadRequest)
		}
	}),
	connect: func(cfg authsec.Config, url string) (send, *authsec.Transport, error) {
		options, transport, err := azureOptions(cfg)
		return azcoreSend(options, url), transport, err
	},
	over: func(transport *authsec.Transport, url string, retries bool) (send, error) {
		options := policy.ClientOptions{Transport: &http.Client{Transport: transport}, Retry: policy.RetryOptions{MaxRetries: -1}}
		if retries {
			options.Retry = policy.RetryOptions{RetryDelay: time.Millisecond}
		}
		return azcoreSend(options, url), nil
	},
	is401: func(err error) bool {
		answer, ok := errors.AsType[*azcore.ResponseError](err)
		return ok && answer.StatusCode == http.StatusUnauthorized
	},
	replays: true,
	tries:   1,
	attempts: map[string]attempts{
		"GET":  {both: 16, library: 4, transport: 4},
		"PUT":  {both: 16, library: 4, transport: 4},
		"POST": {both: 4, library: 4, transport: 1},
	},
}

// azcoreSend is what the clients of Azure's SDK do: a pipeline of policies.
func azcoreSend(options policy.ClientOptions, url string) send {
	pipeline := runtime.NewPipeline("bills", "v1.0.0", runtime.PipelineOptions{}, &options)
	return func(ctx context.Context, method, body string) error {
		req, err := runtime.NewRequest(ctx, method, url)
		if err != nil {
			return err
		}
		if method != http.MethodGet {
			if err := req.SetBody(streaming.NopCloser(strings.NewReader(body)), "text/plain"); err != nil {
				return err
			}
		}
		resp, err := pipeline.Do(req)
		if err != nil {
			return err
		}
		if !runtime.HasStatusCode(resp, http.StatusOK) {
			return runtime.NewResponseError(resp)
		}
		return resp.Body.Close()
	}
}
