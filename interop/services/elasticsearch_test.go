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
	"github.com/elastic/elastic-transport-go/v8/elastictransport"
	"github.com/elastic/go-elasticsearch/v9"
	"github.com/elastic/go-elasticsearch/v9/typedapi/types"
)

// newElasticsearch returns a client of the nodes at urls.
func newElasticsearch(cfg authsec.Config, urls ...string) (*elasticsearch.TypedClient, *authsec.Transport, error) {
	// docs: begin elasticsearch
	transport, err := authsec.NewTransport(cfg)
	if err != nil {
		return nil, nil, err
	}
	transport.Retry.MaxAttempts = 1 // the library retries, with another node if there is one
	client, err := elasticsearch.NewTyped(
		elasticsearch.WithAddresses(urls...),
		elasticsearch.WithTransportOptions(
			elastictransport.WithTransport(transport),
			elastictransport.WithRetryOnError(func(_ *http.Request, err error) bool {
				return !errors.Is(err, authsec.ErrNotDelegated) // only an admin can help
			})))
	// docs: end elasticsearch
	return client, transport, err
}

var elasticsearchLibrary = library{
	service: documents(),
	connect: func(cfg authsec.Config, url string) (send, *authsec.Transport, error) {
		client, transport, err := newElasticsearch(cfg, url)
		return elasticsearchSend(client), transport, err
	},
	over: func(transport *authsec.Transport, url string, retries bool) (send, error) {
		options := []elastictransport.Option{elastictransport.WithTransport(transport)}
		if !retries {
			options = append(options, elastictransport.WithDisableRetry())
		}
		client, err := elasticsearch.NewTyped(elasticsearch.WithAddresses(url), elasticsearch.WithTransportOptions(options...))
		return elasticsearchSend(client), err
	},
	is401: func(err error) bool {
		answer, ok := errors.AsType[*types.ElasticsearchError](err)
		return ok && answer.Status == http.StatusUnauthorized
	},
	replays: true,
	itself:  true,
	tries:   4,
	attempts: map[string]attempts{
		"GET":  {both: 16, library: 4, transport: 4},
		"PUT":  {both: 16, library: 4, transport: 4},
		"POST": {both: 4, library: 4, transport: 1},
	},
}

func elasticsearchSend(client *elasticsearch.TypedClient) send {
	return func(ctx context.Context, method, body string) (err error) {
		bill := map[string]string{"text": body}
		switch method {
		case http.MethodGet:
			_, err = client.Get("bills", "1").Do(ctx)
		case http.MethodPut:
			_, err = client.Index("bills").Id("1").Request(bill).Do(ctx)
		case http.MethodPost:
			_, err = client.Index("bills").Request(bill).Do(ctx)
		}
		return err
	}
}

// documents is a part of Elasticsearch: an index.
func documents() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /bills/_doc/1", func(w http.ResponseWriter, r *http.Request) {
		elasticsearchAnswer(w, `{"_index":"bills","_id":"1","found":true,"_source":{"text":"a bill"}}`)
	})
	index := func(w http.ResponseWriter, r *http.Request) {
		var bill struct{ Text string }
		if err := json.NewDecoder(r.Body).Decode(&bill); err != nil || !strings.Contains(bill.Text, "bill") {
			http.Error(w, "no bill", http.StatusBadRequest)
			return
		}
		elasticsearchAnswer(w, `{"_index":"bills","_id":"1","result":"created"}`)
	}
	mux.HandleFunc("PUT /bills/_doc/1", index)
	mux.HandleFunc("POST /bills/_doc", index)
	return mux
}

func elasticsearchAnswer(w http.ResponseWriter, body string) {
	w.Header().Set("X-Elastic-Product", "Elasticsearch")
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprint(w, body)
}

// The library takes a node out of use after an error, also after ErrNotDelegated. Calls
// succeed at once with a new delegation all the same.
func TestElasticsearchWithSeveralNodes(t *testing.T) {
	ctx, s := timely(t), newStack(t)
	a, b := s.api(t, documents()), s.api(t, documents())
	client, transport, err := newElasticsearch(s.config(a.URL, b.URL), a.URL, b.URL)
	if err != nil {
		t.Fatal(err)
	}
	call := elasticsearchSend(client)
	s.revoke()
	for range 4 {
		if err := call(ctx, http.MethodGet, ""); err == nil {
			t.Fatal("no error without a delegation")
		}
	}
	s.redelegate(t, sourceOf(transport))
	for range 4 {
		if err := call(ctx, http.MethodGet, ""); err != nil {
			t.Errorf("with a new delegation: %v", err)
		}
	}
	s.checkSeen(t)
}

// These options are for an http.Transport. With another, one is an error, and the other
// has no effect.
func TestElasticsearchTLSOptions(t *testing.T) {
	ctx, s := timely(t), newStack(t)
	api := s.api(t, documents())
	transport, err := authsec.NewTransport(s.config(api.URL))
	if err != nil {
		t.Fatal(err)
	}
	over := elasticsearch.WithTransportOptions(elastictransport.WithTransport(transport))
	_, err = elasticsearch.NewTyped(elasticsearch.WithAddresses(api.URL), elasticsearch.WithCACert([]byte("a certificate")), over)
	if err == nil || !strings.Contains(err.Error(), "*authsec.Transport") {
		t.Errorf("WithCACert: %v, want an error that names *authsec.Transport", err)
	}
	another := strings.Repeat("ab", 32)
	client, err := elasticsearch.NewTyped(elasticsearch.WithAddresses(api.URL), elasticsearch.WithCertificateFingerprint(another), over)
	if err != nil {
		t.Fatal(err)
	}
	if err := elasticsearchSend(client)(ctx, http.MethodGet, ""); err != nil {
		t.Errorf("with the fingerprint of another certificate: %v, want none, as it is not checked", err)
	}
}
