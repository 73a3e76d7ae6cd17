// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package google

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/interop/internal/itest"
	"google.golang.org/api/drive/v3"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"
)

// googleAPI returns a client for the service at url.
func googleAPI(ctx context.Context, cfg authsec.Config, url string) (*drive.Service, *authsec.Source, error) {
	// docs: begin google-api
	client, err := authsec.NewClient(cfg)
	if err != nil {
		return nil, nil, err
	}
	service, err := drive.NewService(ctx, option.WithHTTPClient(client), option.WithEndpoint(url))
	// docs: end google-api
	return service, itest.SourceOf(client), err
}

// files is a part of the Drive API: it has one file, and accepts an upload.
func files() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /files", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"files":[{"id":"1","name":"bill"}]}`)
	})
	upload := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || !strings.Contains(string(body), "to be paid") {
			http.Error(w, "no content", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"id":"2","name":"bill"}`)
	}
	mux.HandleFunc("POST /upload/drive/v3/files", upload)
	return mux
}

func isUnauthorized(err error) bool {
	answer, ok := errors.AsType[*googleapi.Error](err)
	return ok && answer.Code == http.StatusUnauthorized
}

func list(t *testing.T, service *drive.Service) error {
	files, err := service.Files.List().Context(t.Context()).Do()
	if err == nil && (len(files.Files) != 1 || files.Files[0].Name != "bill") {
		t.Errorf("files = %v, want one, bill", files.Files)
	}
	return err
}

func upload(t *testing.T, service *drive.Service) error {
	// Any reader works: the library keeps what it has read, and sets GetBody.
	content := io.MultiReader(strings.NewReader("to be "), strings.NewReader("paid"))
	file, err := service.Files.Create(&drive.File{Name: "bill"}).Media(content).Context(t.Context()).Do()
	if err == nil && file.Id != "2" {
		t.Errorf("file = %q, want 2", file.Id)
	}
	return err
}

func TestGoogleAPI(t *testing.T) {
	for name, call := range map[string]func(*testing.T, *drive.Service) error{"list": list, "upload": upload} {
		t.Run(name, func(t *testing.T) {
			stack := itest.New(t)
			api := stack.API(t, files(), itest.Permissions...)
			service, src, err := googleAPI(t.Context(), stack.Config(api.URL), api.URL)
			if err != nil {
				t.Fatal(err)
			}
			rejected, without := stack.Live(t, src, func() error { return call(t, service) })
			if !isUnauthorized(rejected) {
				t.Errorf("after the revocation: %v, want a googleapi.Error with 401", rejected)
			}
			stack.CheckNotDelegated(t, without)

			service, _, err = googleAPI(t.Context(), stack.Config(api.URL), api.URL)
			if err != nil {
				t.Fatal(err)
			}
			stack.Replace(t, func() error { return call(t, service) })
		})
	}
}

// With WithTokenSource in place of WithHTTPClient, the library caches the token until it
// expires. A rejected token is neither replaced nor dropped, and the library does not
// ask the Source.
func TestGoogleAPIWithTokenSourceKeepsARejectedToken(t *testing.T) {
	stack := itest.New(t)
	api := stack.API(t, files(), itest.Permissions...)
	src, err := authsec.NewSource(stack.Config(api.URL))
	if err != nil {
		t.Fatal(err)
	}
	newService := func() *drive.Service {
		service, err := drive.NewService(t.Context(), option.WithTokenSource(src), option.WithEndpoint(api.URL))
		if err != nil {
			t.Fatal(err)
		}
		return service
	}
	service := newService()
	if err := list(t, service); err != nil {
		t.Fatal(err)
	}
	stack.CheckSeen(t)
	stack.Revoke()
	for range 2 {
		if err := list(t, service); !isUnauthorized(err) || errors.Is(err, authsec.ErrNotDelegated) {
			t.Errorf("after the revocation: %v, want a googleapi.Error with 401", err)
		}
	}
	stack.Redelegate(t, src)
	if err := list(t, service); !isUnauthorized(err) {
		t.Errorf("with another token in the source: %v, want a googleapi.Error with 401", err)
	}
	if err := list(t, newService()); err != nil {
		t.Errorf("a new service: %v", err)
	}
}

// WithTokenSource does not keep the Source's error.
func TestGoogleAPIWithTokenSourceHidesErrors(t *testing.T) {
	stack := itest.New(t)
	api := stack.API(t, files(), itest.Permissions...)
	stack.Revoke()
	src, err := authsec.NewSource(stack.Config(api.URL))
	if err != nil {
		t.Fatal(err)
	}
	service, err := drive.NewService(t.Context(), option.WithTokenSource(src), option.WithEndpoint(api.URL))
	if err != nil {
		t.Fatal(err)
	}
	err = list(t, service)
	if err == nil || errors.Is(err, authsec.ErrNotDelegated) {
		t.Errorf("error = %v, want one that is not ErrNotDelegated", err)
	}
	t.Log(err)
}
