// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/interop/internal/itest"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// clientset returns a client for config's Kubernetes API server.
func clientset(cfg authsec.Config, config *rest.Config, retry authsec.RetryPolicy) (*kubernetes.Clientset, *authsec.Source, error) {
	// docs: begin client-go
	src, err := authsec.NewSource(cfg)
	if err != nil {
		return nil, nil, err
	}
	config.Wrap(func(base http.RoundTripper) http.RoundTripper {
		return &authsec.Transport{Source: src, Base: base, Hosts: cfg.Hosts, Retry: retry}
	})
	client, err := kubernetes.NewForConfig(config)
	// docs: end client-go
	return client, src, err
}

// server is a part of the Kubernetes API: it lists and watches pods, and sends a created
// config map back.
func server() http.Handler {
	mux := http.NewServeMux()
	reply := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(v)
	}
	pod := corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: "agent", Namespace: "prod", ResourceVersion: "1"},
	}
	mux.HandleFunc("GET /api/v1/namespaces/prod/pods", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("watch") == "true" {
			reply(w, map[string]any{"type": "ADDED", "object": pod})
			return
		}
		reply(w, corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: []corev1.Pod{pod}})
	})
	mux.HandleFunc("POST /api/v1/namespaces/prod/configmaps", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		w.WriteHeader(http.StatusCreated)
		io.Copy(w, r.Body)
	})
	return mux
}

func list(ctx context.Context, client *kubernetes.Clientset) error {
	pods, err := client.CoreV1().Pods("prod").List(ctx, metav1.ListOptions{})
	if err == nil && (len(pods.Items) != 1 || pods.Items[0].Name != "agent") {
		return fmt.Errorf("pods = %v, want one, agent", pods.Items)
	}
	return err
}

func create(ctx context.Context, client *kubernetes.Clientset) error {
	m, err := client.CoreV1().ConfigMaps("prod").Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "bills"}, Data: map[string]string{"state": "to be paid"},
	}, metav1.CreateOptions{})
	if err == nil && m.Data["state"] != "to be paid" {
		return fmt.Errorf("data = %v, want the data that was sent", m.Data)
	}
	return err
}

func follow(ctx context.Context, client *kubernetes.Clientset) error {
	w, err := client.CoreV1().Pods("prod").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	defer w.Stop()
	if event, ok := <-w.ResultChan(); !ok || event.Type != watch.Added {
		return fmt.Errorf("event = %v, want ADDED", event)
	}
	return nil
}

// connect returns a client for the server at url.
func connect(t *testing.T, cfg authsec.Config, url string, retry authsec.RetryPolicy) (*kubernetes.Clientset, *authsec.Source) {
	t.Helper()
	config := &rest.Config{
		Host: url, Transport: http.DefaultTransport,
		QPS:         -1,           // no limit: client-go's rate limit is not tested here
		BearerToken: "of-the-pod", // as in a cluster; the delegation token replaces it
	}
	client, src, err := clientset(cfg, config, retry)
	if err != nil {
		t.Fatal(err)
	}
	return client, src
}

func TestClientGo(t *testing.T) {
	for name, call := range map[string]func(context.Context, *kubernetes.Clientset) error{
		"list": list, "create": create, "watch": follow,
	} {
		t.Run(name, func(t *testing.T) {
			stack := itest.New(t)
			api := stack.API(t, server(), itest.Permissions...)
			client, src := connect(t, stack.Config(api.URL), api.URL, authsec.RetryPolicy{})
			rejected, without := stack.Live(t, src, func() error { return call(t.Context(), client) })
			if !apierrors.IsUnauthorized(rejected) {
				t.Errorf("after the revocation: %v, want one that IsUnauthorized", rejected)
			}
			stack.CheckNotDelegated(t, without)
			client, _ = connect(t, stack.Config(api.URL), api.URL, authsec.RetryPolicy{})
			stack.Replace(t, func() error { return call(t.Context(), client) })
		})
	}
}

// client-go itself retries a request 10 times, but only if the answer has a Retry-After.
// The Transport's retries multiply that.
func TestClientGoAttemptsWhileTheServerIsDown(t *testing.T) {
	short := authsec.RetryPolicy{MinBackoff: time.Millisecond, MaxBackoff: time.Millisecond}
	for _, tc := range []struct {
		name       string
		retry      authsec.RetryPolicy
		retryAfter string
		call       func(context.Context, *kubernetes.Clientset) error
		want       int
	}{
		{"list", short, "", list, 4},
		{"list, Retry-After", short, "0", list, 44},
		{"list, MaxAttempts 1", authsec.RetryPolicy{MaxAttempts: 1}, "", list, 1},
		{"list, Retry-After, MaxAttempts 1", authsec.RetryPolicy{MaxAttempts: 1}, "0", list, 11},
		{"create", short, "", create, 1},
		{"create, Retry-After", short, "0", create, 11},
	} {
		t.Run(tc.name, func(t *testing.T) {
			stack := itest.New(t)
			api := stack.API(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if tc.retryAfter != "" {
					w.Header().Set("Retry-After", tc.retryAfter)
				}
				http.Error(w, "unavailable", http.StatusServiceUnavailable)
			}), itest.Permissions...)
			client, _ := connect(t, stack.Config(api.URL), api.URL, tc.retry)
			err := tc.call(t.Context(), client)
			if answer, ok := errors.AsType[*apierrors.StatusError](err); !ok || answer.Status().Code != http.StatusServiceUnavailable {
				t.Errorf("error = %v, want a 503", err)
			}
			if got := stack.Requests(); got != tc.want {
				t.Errorf("%d attempts, want %d", got, tc.want)
			}
		})
	}
}
