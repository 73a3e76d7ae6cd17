// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package services_test

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"testing"

	"github.com/authsec-go/authsec"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/minio/minio-go/v7"
)

// minioWithHosts returns a client that puts the bucket's name before the endpoint.
func minioWithHosts(cfg authsec.Config, endpoint string) (*minio.Client, *authsec.Transport, error) {
	// docs: begin buckets-minio
	cfg.Hosts = []string{"s3.example.com", "*.s3.example.com"} // the endpoint, and its buckets
	transport, err := authsec.NewTransport(cfg)
	if err != nil {
		return nil, nil, err
	}
	client, err := minio.New(endpoint, &minio.Options{
		Secure:       true,
		Region:       "us-east-1",
		Transport:    transport,
		MaxRetries:   1,
		BucketLookup: minio.BucketLookupDNS,
	})
	// docs: end buckets-minio
	return client, transport, err
}

// A bucket may be a part of the host: bills.s3.example.com. Then "s3.example.com" in Hosts
// does not name it, and the request goes without the token.
func TestBucketsAreHosts(t *testing.T) {
	both := []string{"s3.example.com", "*.s3.example.com"}
	minioClient := func(transport http.RoundTripper) send {
		client, err := minio.New("s3.example.com", &minio.Options{
			Secure: true, Region: "us-east-1", Transport: transport, MaxRetries: 1, BucketLookup: minio.BucketLookupDNS,
		})
		if err != nil {
			t.Fatal(err)
		}
		return minioSend(client)
	}
	awsClient := func(transport http.RoundTripper) send {
		return awsSend(s3.New(s3.Options{
			BaseEndpoint: aws.String("https://s3.example.com"), Region: "us-east-1",
			Credentials: aws.AnonymousCredentials{}, HTTPClient: &http.Client{Transport: transport}, Retryer: aws.NopRetryer{},
		}))
	}
	for _, tc := range []struct {
		name  string
		hosts []string
		over  func(http.RoundTripper) send
		is401 func(error) bool // nil: the call succeeds
	}{
		{"minio, both", both, minioClient, nil},
		{"aws, both", both, awsClient, nil},
		{"minio, the endpoint alone", both[:1], minioClient, minioLibrary.is401},
		{"aws, the endpoint alone", both[:1], awsClient, awsLibrary.is401},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, s := timely(t), newStack(t)
			api := s.api(t, inHost(bucket()))
			cfg := s.config()
			cfg.Hosts = tc.hosts
			transport, err := authsec.NewTransport(cfg)
			if err != nil {
				t.Fatal(err)
			}
			transport.Base = to(t, api.URL)
			err = tc.over(transport)(ctx, http.MethodGet, "")
			made := s.requests()
			if len(made) != 1 || made[0].host != "bills.s3.example.com" || made[0].path != "/bill" {
				t.Fatalf("requests = %v, want GET bills.s3.example.com/bill", made)
			}
			if tc.is401 == nil && err != nil || tc.is401 != nil && !tc.is401(err) {
				t.Errorf("error = %v, want a 401: %t", err, tc.is401 != nil)
			}
			if got, want := made[0].token != "", tc.is401 == nil; got != want {
				t.Errorf("the request has a token: %t, want %t", got, want)
			}
		})
	}
}

func TestBucketsAsDocumented(t *testing.T) {
	ctx, s := timely(t), newStack(t)
	api := s.api(t, inHost(bucket()))
	client, transport, err := minioWithHosts(s.config(), "s3.example.com")
	if err != nil {
		t.Fatal(err)
	}
	transport.Base = to(t, api.URL)
	if err := minioSend(client)(ctx, http.MethodGet, ""); err != nil {
		t.Fatal(err)
	}
	s.checkSeen(t)
}

// inHost turns a handler for paths with the bucket into one for hosts with the bucket.
func inHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = "/bills" + r.URL.Path
		next.ServeHTTP(w, r)
	})
}

// to returns a transport that sends every request to the server at to.
func to(t *testing.T, to string) *http.Transport {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.TLSClientConfig.ServerName = "example.com" // in httptest's certificate
	base.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, u.Host)
	}
	t.Cleanup(base.CloseIdleConnections)
	return base
}
