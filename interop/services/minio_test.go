// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package services_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/minio/minio-go/v7"
)

// newMinio returns a client of the store at endpoint, a host and port.
func newMinio(cfg authsec.Config, endpoint string) (*minio.Client, *authsec.Transport, error) {
	// docs: begin minio
	transport, err := authsec.NewTransport(cfg)
	if err != nil {
		return nil, nil, err
	}
	client, err := minio.New(endpoint, &minio.Options{ // without Creds: the Transport adds the token
		Secure:     true,
		Region:     "us-east-1", // otherwise the library asks for each bucket's region
		Transport:  transport,
		MaxRetries: 1, // none: the Transport retries
	})
	// docs: end minio
	return client, transport, err
}

var minioLibrary = library{
	service: bucket(),
	connect: func(cfg authsec.Config, url string) (send, *authsec.Transport, error) {
		client, transport, err := newMinio(cfg, strings.TrimPrefix(url, "https://"))
		return minioSend(client), transport, err
	},
	over: func(transport *authsec.Transport, url string, retries bool) (send, error) {
		options := &minio.Options{Secure: true, Region: "us-east-1", Transport: transport}
		if !retries {
			options.MaxRetries = 1
		}
		client, err := minio.New(strings.TrimPrefix(url, "https://"), options)
		return minioSend(client), err
	},
	is401: func(err error) bool {
		answer, ok := errors.AsType[minio.ErrorResponse](err)
		return ok && answer.StatusCode == http.StatusUnauthorized
	},
	bodyless: "POST",
	tries:    10,
	attempts: map[string]attempts{
		"GET":  {both: 40, library: 10, transport: 4},
		"PUT":  {both: 40, library: 10, transport: 4},
		"POST": {both: 10, library: 10, transport: 1},
	},
}

func init() { // short waits
	minio.DefaultRetryUnit, minio.DefaultRetryCap = time.Millisecond, time.Millisecond
}

func minioSend(client *minio.Client) send {
	core := minio.Core{Client: client}
	return func(ctx context.Context, method, body string) (err error) {
		switch method {
		case http.MethodGet:
			var object io.ReadCloser
			if object, _, _, err = core.GetObject(ctx, "bills", "bill", minio.GetObjectOptions{}); err == nil {
				object.Close()
			}
		case http.MethodPut:
			_, err = client.PutObject(ctx, "bills", "bill", strings.NewReader(body), int64(len(body)), minio.PutObjectOptions{})
		case http.MethodPost:
			_, err = core.NewMultipartUpload(ctx, "bills", "bill", minio.PutObjectOptions{})
		}
		return err
	}
}

// bucket is a part of S3's API: one object in the bucket bills.
func bucket() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /bills/bill", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		w.Header().Set("Last-Modified", "Thu, 26 Nov 2026 09:31:33 GMT")
		fmt.Fprint(w, "a bill")
	})
	mux.HandleFunc("PUT /bills/bill", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || !strings.Contains(string(body), "bill") {
			http.Error(w, "no bill", http.StatusBadRequest)
			return
		}
		w.Header().Set("ETag", `"1"`)
	})
	mux.HandleFunc("POST /bills/bill", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `<InitiateMultipartUploadResult><Bucket>bills</Bucket><Key>bill</Key><UploadId>1</UploadId></InitiateMultipartUploadResult>`)
	})
	return mux
}

// With a larger BufferBodies, larger objects are sent again after a 401.
func TestMinioBuffersMore(t *testing.T) {
	ctx, s := timely(t), newStack(t)
	api := s.api(t, bucket())
	transport, err := authsec.NewTransport(s.config(api.URL))
	if err != nil {
		t.Fatal(err)
	}
	transport.BufferBodies = int64(len(long))
	call, err := minioLibrary.over(transport, api.URL, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := call(ctx, http.MethodPut, long); err != nil {
		t.Fatal(err)
	}
	s.revoke()
	s.delegate()
	if err := call(ctx, http.MethodPut, long); err != nil {
		t.Errorf("after a revocation and a new delegation: %v", err)
	}
	s.checkSeen(t)
}
