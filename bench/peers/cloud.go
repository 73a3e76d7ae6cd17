// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	"net/http"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/httptransport"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/aws/aws-sdk-go-v2/aws"
)

// googleProvider makes a Job an auth.TokenProvider.
type googleProvider struct{ Job }

func (p googleProvider) Token(ctx context.Context) (*auth.Token, error) {
	token, expiry, err := p.fetch(ctx)
	if err != nil {
		return nil, err
	}
	return &auth.Token{Value: token, Type: "Bearer", Expiry: expiry}, nil
}

func (j Job) googleCache() auth.TokenProvider {
	return auth.NewCachedTokenProvider(googleProvider{j}, &auth.CachedTokenProviderOptions{ExpireEarly: j.Early})
}

func newGoogleAuth(j Job, base http.RoundTripper) (http.RoundTripper, error) {
	client, err := httptransport.NewClient(&httptransport.Options{
		BaseRoundTripper: base,
		DisableTelemetry: true, // no peer has any
		Credentials:      auth.NewCredentials(&auth.CredentialsOptions{TokenProvider: j.googleCache()}),
	})
	if err != nil {
		return nil, err
	}
	return client.Transport, nil
}

func googleToken(j Job) (func(context.Context) (string, error), error) {
	cache := j.googleCache()
	return func(ctx context.Context) (string, error) {
		t, err := cache.Token(ctx)
		if err != nil {
			return "", err
		}
		return t.Value, nil
	}, nil
}

// azCredential makes a Job an azcore.TokenCredential.
type azCredential struct{ Job }

func (c azCredential) GetToken(ctx context.Context, _ policy.TokenRequestOptions) (azcore.AccessToken, error) {
	token, expiry, err := c.fetch(ctx)
	if err != nil {
		return azcore.AccessToken{}, err
	}
	t := azcore.AccessToken{Token: token, ExpiresOn: expiry}
	if c.Early > 0 {
		t.RefreshOn = expiry.Add(-c.Early)
	}
	return t, nil
}

// azPipeline makes a pipeline with the policy an http.RoundTripper.
type azPipeline struct{ pipeline runtime.Pipeline }

// azBase makes an http.RoundTripper a policy.Transporter.
type azBase struct{ http.RoundTripper }

func (b azBase) Do(req *http.Request) (*http.Response, error) { return b.RoundTrip(req) }

func newAzCore(j Job, base http.RoundTripper) (http.RoundTripper, error) {
	bearer := runtime.NewBearerTokenPolicy(azCredential{j}, []string{"api"}, nil)
	options := &policy.ClientOptions{Transport: azBase{base}, Telemetry: policy.TelemetryOptions{Disabled: true}}
	if j.Attempts > 0 {
		options.Retry.MaxRetries = int32(j.Attempts - 1)
	}
	if j.MinBackoff > 0 {
		options.Retry.RetryDelay, options.Retry.MaxRetryDelay = j.MinBackoff, j.MaxBackoff
	}
	return azPipeline{runtime.NewPipeline("bench", "v0.0.0", runtime.PipelineOptions{PerRetry: []policy.Policy{bearer}}, options)}, nil
}

// RoundTrip passes a copy, because the pipeline's policies modify the request.
func (p azPipeline) RoundTrip(req *http.Request) (*http.Response, error) {
	r, err := runtime.NewRequestFromRequest(req.Clone(req.Context()))
	if err != nil {
		return nil, err
	}
	runtime.SkipBodyDownload(r)
	return p.pipeline.Do(r)
}

// awsProvider makes a Job an aws.CredentialsProvider.
type awsProvider struct{ Job }

func (p awsProvider) Retrieve(ctx context.Context) (aws.Credentials, error) {
	token, expiry, err := p.fetch(ctx)
	if err != nil {
		return aws.Credentials{}, err
	}
	return aws.Credentials{AccessKeyID: "agent", SecretAccessKey: "none", SessionToken: token, CanExpire: true, Expires: expiry}, nil
}

func awsToken(j Job) (func(context.Context) (string, error), error) {
	cache := aws.NewCredentialsCache(awsProvider{j}, func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = j.Early })
	return func(ctx context.Context) (string, error) {
		c, err := cache.Retrieve(ctx)
		if err != nil {
			return "", err
		}
		return c.SessionToken, nil
	}, nil
}
