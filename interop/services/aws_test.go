// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package services_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// newS3 returns a client of the store at url.
func newS3(cfg authsec.Config, url string) (*s3.Client, *authsec.Transport, error) {
	// docs: begin aws
	httpClient, err := authsec.NewClient(cfg)
	if err != nil {
		return nil, nil, err
	}
	httpClient.Transport.(*authsec.Transport).Retry.MaxAttempts = 1 // the SDK retries
	client := s3.New(s3.Options{
		BaseEndpoint: aws.String(url),
		Region:       "us-east-1",
		UsePathStyle: true,                       // otherwise list "*.s3.example.com" in Hosts
		Credentials:  aws.AnonymousCredentials{}, // no signature: the http.Client adds the token
		HTTPClient:   httpClient,
		Retryer:      newRetryer(),
	})
	// docs: end aws
	return client, transportOf(httpClient), nil
}

// docs: begin aws-retryer

// newRetryer returns the SDK's retryer, with these changes: it does not retry without a
// delegation, and after a 401 it sends a body again that the Transport can't.
func newRetryer() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		check := retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
			var answer *smithyhttp.ResponseError
			switch {
			case errors.Is(err, authsec.ErrNotDelegated):
				return aws.FalseTernary // only an admin can help
			case errors.As(err, &answer) && answer.HTTPStatusCode() == http.StatusUnauthorized:
				return aws.TrueTernary
			}
			return aws.UnknownTernary // the SDK's own checks decide
		})
		o.Retryables = append([]retry.IsErrorRetryable{check}, o.Retryables...)
	})
}

// docs: end aws-retryer

var awsLibrary = library{
	service: bucket(),
	connect: func(cfg authsec.Config, url string) (send, *authsec.Transport, error) {
		client, transport, err := newS3(cfg, url)
		return awsSend(client), transport, err
	},
	over: func(transport *authsec.Transport, url string, retries bool) (send, error) {
		var retryer aws.Retryer = aws.NopRetryer{}
		if retries {
			retryer = retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = time.Millisecond })
		}
		return awsSend(s3.New(s3.Options{
			BaseEndpoint: aws.String(url), Region: "us-east-1", UsePathStyle: true,
			Credentials: aws.AnonymousCredentials{}, HTTPClient: &http.Client{Transport: transport}, Retryer: retryer,
		})), nil
	},
	is401: func(err error) bool {
		answer, ok := errors.AsType[*smithyhttp.ResponseError](err)
		return ok && answer.HTTPStatusCode() == http.StatusUnauthorized
	},
	notDelegatedAtOnce: true,
	replays:            true,
	bodyless:           "POST",
	itself:             true,
	tries:              3,
	attempts: map[string]attempts{
		"GET":  {both: 12, library: 3, transport: 4},
		"PUT":  {both: 12, library: 3, transport: 4},
		"POST": {both: 3, library: 3, transport: 1},
	},
}

func awsSend(client *s3.Client) send {
	bills, bill := aws.String("bills"), aws.String("bill")
	return func(ctx context.Context, method, body string) (err error) {
		switch method {
		case http.MethodGet:
			var object *s3.GetObjectOutput
			if object, err = client.GetObject(ctx, &s3.GetObjectInput{Bucket: bills, Key: bill}); err == nil {
				object.Body.Close()
			}
		case http.MethodPut:
			_, err = client.PutObject(ctx, &s3.PutObjectInput{Bucket: bills, Key: bill, Body: strings.NewReader(body)})
		case http.MethodPost:
			_, err = client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: bills, Key: bill})
		}
		return err
	}
}
