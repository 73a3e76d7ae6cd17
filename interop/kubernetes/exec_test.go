// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"context"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/interop/internal/itest"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/streaming/pkg/httpstream"
)

// executors are the two ways of kubectl exec.
var executors = map[string]func(*rest.Config, *url.URL) (remotecommand.Executor, error){
	"SPDY": func(config *rest.Config, u *url.URL) (remotecommand.Executor, error) {
		return remotecommand.NewSPDYExecutor(config, http.MethodPost, u)
	},
	"WebSocket": func(config *rest.Config, u *url.URL) (remotecommand.Executor, error) {
		return remotecommand.NewWebSocketExecutor(config, http.MethodGet, u.String())
	},
}

// execIn runs a command in a pod of the cluster at rawURL.
func execIn(t *testing.T, cfg authsec.Config, rawURL string, retry authsec.RetryPolicy, executor func(*rest.Config, *url.URL) (remotecommand.Executor, error)) (*authsec.Source, func() error) {
	t.Helper()
	srv := httptest.NewTLSServer(nil) // has the certificate of all test servers
	defer srv.Close()
	config := &rest.Config{
		Host:            rawURL,
		BearerToken:     "of-the-pod",
		TLSClientConfig: rest.TLSClientConfig{CAData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})},
	}
	client, src, err := clientset(cfg, config, retry)
	if err != nil {
		t.Fatal(err)
	}
	req := client.CoreV1().RESTClient().Post().Namespace("prod").Resource("pods").Name("agent").SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: []string{"id"}, Stdout: true}, scheme.ParameterCodec)
	return src, func() error {
		e, err := executor(config, req.URL())
		if err != nil {
			t.Fatal(err)
		}
		return e.StreamWithContext(itest.Timely(t), remotecommand.StreamOptions{Stdout: io.Discard})
	}
}

// once lets client-go alone retry. Its WebSocket RoundTripper can be used only once.
var once = authsec.RetryPolicy{MaxAttempts: 1}

// The handshake of an exec has the token, and only for the listed cluster. It ends with
// an error here, because the cluster upgrades nothing.
func TestExecSendsTheTokenToTheClusterOnly(t *testing.T) {
	for name, executor := range executors {
		t.Run(name, func(t *testing.T) {
			stack := itest.New(t)
			exec := func(cfg authsec.Config, url string) {
				_, run := execIn(t, cfg, url, once, executor)
				err := run()
				if err == nil {
					t.Fatal("no error, though nothing is upgraded")
				}
				stack.CheckNoToken(t, err.Error())
			}
			api := stack.API(t, http.NotFoundHandler(), itest.Permissions...)
			exec(stack.Config(api.URL), api.URL)
			stack.CheckSeen(t)
			requests, tokens := stack.Stray(t, exec)
			if requests < 2 || tokens != 0 {
				t.Errorf("%d requests went to other hosts, %d of them with a token; want at least 2, and none with a token", requests, tokens)
			}
		})
	}
}

// Over SPDY a rejected token is replaced. The WebSocket RoundTripper makes an error of
// the 401, so the Transport does not see it. client-go falls back to SPDY after this
// error, unless the Transport has tried again in between.
func TestExecReplacesARejectedToken(t *testing.T) {
	for name, tc := range map[string]struct {
		retry              authsec.RetryPolicy
		replaced, fallback bool
	}{
		"SPDY":      {once, true, true},
		"WebSocket": {once, false, true},
		"WebSocket, with the Transport's retries": {authsec.RetryPolicy{MinBackoff: 1, MaxBackoff: 1}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			kind, _, _ := strings.Cut(name, ",")
			stack := itest.New(t)
			api := stack.API(t, http.NotFoundHandler(), itest.Permissions...)
			src, run := execIn(t, stack.Config(api.URL), api.URL, tc.retry, executors[kind])
			run()
			stack.Revoke()
			stack.Delegate()
			before := stack.Fetches()
			err := run()
			if replaced := stack.Fetches() > before; replaced != tc.replaced {
				t.Errorf("the token was replaced: %t, want %t", replaced, tc.replaced)
			}
			if kind == "WebSocket" && httpstream.IsUpgradeFailure(err) != tc.fallback {
				t.Errorf("client-go falls back to SPDY: %t, want %t: %v", !tc.fallback, tc.fallback, err)
			}
			stack.Redelegate(t, src)
			run()
			stack.CheckSeen(t)
		})
	}
}

// A watch and a list follow redirects, without the token.
func TestClientGoDoesNotLeak(t *testing.T) {
	itest.New(t).CheckStays(t, func(cfg authsec.Config, url string) {
		client, _ := connect(t, cfg, url, authsec.RetryPolicy{})
		list(context.Background(), client)
	})
}
