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
	"time"

	"github.com/authsec-go/authsec"
	gitlab "gitlab.com/gitlab-org/api/client-go/v2"
)

// newGitLab returns a client of the server at url.
func newGitLab(cfg authsec.Config, url string) (*gitlab.Client, *authsec.Transport, error) {
	// docs: begin gitlab
	httpClient, err := authsec.NewClient(cfg)
	if err != nil {
		return nil, nil, err
	}
	client, err := gitlab.NewAuthSourceClient(
		gitlab.Unauthenticated{}, // the http.Client adds the token
		gitlab.WithHTTPClient(httpClient),
		gitlab.WithBaseURL(url),
		gitlab.WithoutRetries()) // the Transport retries
	// docs: end gitlab
	return client, transportOf(httpClient), err
}

var gitLabLibrary = library{
	service: issues(),
	connect: func(cfg authsec.Config, url string) (send, *authsec.Transport, error) {
		client, transport, err := newGitLab(cfg, url)
		return gitLabSend(client), transport, err
	},
	over: func(transport *authsec.Transport, url string, retries bool) (send, error) {
		options := []gitlab.ClientOptionFunc{
			gitlab.WithHTTPClient(&http.Client{Transport: transport}),
			gitlab.WithBaseURL(url),
			gitlab.WithCustomBackoff(func(time.Duration, time.Duration, int, *http.Response) time.Duration { return time.Millisecond }),
		}
		if !retries {
			options = append(options, gitlab.WithoutRetries())
		}
		client, err := gitlab.NewAuthSourceClient(gitlab.Unauthenticated{}, options...)
		return gitLabSend(client), err
	},
	is401: func(err error) bool {
		answer, ok := errors.AsType[*gitlab.ErrorResponse](err)
		return ok && answer.Response.StatusCode == http.StatusUnauthorized
	},
	replays: true,
	tries:   1,
	attempts: map[string]attempts{
		"GET":  {both: 24, library: 6, transport: 4},
		"PUT":  {both: 24, library: 6, transport: 4},
		"POST": {both: 6, library: 6, transport: 1},
	},
}

func gitLabSend(client *gitlab.Client) send {
	return func(ctx context.Context, method, body string) (err error) {
		withContext := gitlab.WithContext(ctx)
		switch method {
		case http.MethodGet:
			_, _, err = client.Issues.GetIssue(1, 1, nil, withContext)
		case http.MethodPut:
			_, _, err = client.Issues.UpdateIssue(1, 1, &gitlab.UpdateIssueOptions{Description: &body}, withContext)
		case http.MethodPost:
			_, _, err = client.Issues.CreateIssue(1, &gitlab.CreateIssueOptions{Description: &body}, withContext)
		}
		return err
	}
}

// issues is a part of GitLab's API: the issues of one project.
func issues() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v4/projects/1/issues/1", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"iid":1}`)
	})
	write := func(w http.ResponseWriter, r *http.Request) {
		var issue struct{ Description string }
		if err := json.NewDecoder(r.Body).Decode(&issue); err != nil || !strings.Contains(issue.Description, "bill") {
			http.Error(w, "no bill", http.StatusBadRequest)
			return
		}
		fmt.Fprint(w, `{"iid":1}`)
	}
	mux.HandleFunc("PUT /api/v4/projects/1/issues/1", write)
	mux.HandleFunc("POST /api/v4/projects/1/issues", write)
	return mux
}

// An interceptor goes around the Transport, in the http.Client that was passed. So each
// GitLab client should have its own.
func TestGitLabInterceptorChangesTheClient(t *testing.T) {
	client, err := authsec.NewClient(newStack(t).config("https://gitlab.example.com"))
	if err != nil {
		t.Fatal(err)
	}
	none := func(next http.RoundTripper) http.RoundTripper { return struct{ http.RoundTripper }{next} }
	if _, err := gitlab.NewAuthSourceClient(gitlab.Unauthenticated{}, gitlab.WithHTTPClient(client), gitlab.WithInterceptor(none)); err != nil {
		t.Fatal(err)
	}
	if _, same := client.Transport.(*authsec.Transport); same {
		t.Error("the http.Client has its Transport, want another")
	}
}
