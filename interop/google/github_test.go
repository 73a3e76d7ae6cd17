// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package google

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/interop/internal/itest"
	"github.com/google/go-github/v84/github"
)

// gitHub returns a client for the server at url.
func gitHub(cfg authsec.Config, url string) (*github.Client, *authsec.Source, error) {
	// docs: begin go-github
	client, err := authsec.NewClient(cfg)
	if err != nil {
		return nil, nil, err
	}
	gh := github.NewClient(client)
	// docs: end go-github
	gh, err = gh.WithEnterpriseURLs(url, url)
	return gh, itest.SourceOf(client), err
}

// issues is a part of GitHub's API: one repository. It sends a posted issue back.
func issues() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v3/repos/o/r", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"full_name":"o/r"}`)
	})
	mux.HandleFunc("POST /api/v3/repos/o/r/issues", func(w http.ResponseWriter, r *http.Request) {
		var issue struct {
			Title string `json:"title"`
		}
		if err := json.NewDecoder(r.Body).Decode(&issue); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusCreated)
		json.NewEncoder(w).Encode(issue)
	})
	return mux
}

func TestGitHub(t *testing.T) {
	get := func(t *testing.T, gh *github.Client) error {
		repo, _, err := gh.Repositories.Get(t.Context(), "o", "r")
		if err == nil && repo.GetFullName() != "o/r" {
			t.Errorf("repository = %q, want o/r", repo.GetFullName())
		}
		return err
	}
	post := func(t *testing.T, gh *github.Client) error {
		issue, _, err := gh.Issues.Create(t.Context(), "o", "r", &github.IssueRequest{Title: github.Ptr("a bill")})
		if err == nil && issue.GetTitle() != "a bill" {
			t.Errorf("title = %q, want a bill", issue.GetTitle())
		}
		return err
	}
	for name, call := range map[string]func(*testing.T, *github.Client) error{"GET": get, "POST": post} {
		t.Run(name, func(t *testing.T) {
			stack := itest.New(t)
			api := stack.API(t, issues(), itest.Permissions...)
			gh, src, err := gitHub(stack.Config(api.URL), api.URL)
			if err != nil {
				t.Fatal(err)
			}
			rejected, without := stack.Live(t, src, func() error { return call(t, gh) })
			answer, ok := errors.AsType[*github.ErrorResponse](rejected)
			if !ok || answer.Response.StatusCode != http.StatusUnauthorized {
				t.Errorf("after the revocation: %v, want a github.ErrorResponse with 401", rejected)
			}
			stack.CheckNotDelegated(t, without)

			gh, _, err = gitHub(stack.Config(api.URL), api.URL)
			if err != nil {
				t.Fatal(err)
			}
			stack.Replace(t, func() error { return call(t, gh) })
		})
	}
}
