// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Command protected-api is an API that accepts delegation tokens. It reads
//
//	AUTHSEC_BASE_URL  the AuthSec server's root
//	TENANT_ID         the tenant (on newer servers: the workspace) whose agents may call
//	LISTEN            its own address; 127.0.0.1:8080 if it is not set
package main

import (
	"cmp"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/authsec-go/authsec/verify"
)

func main() {
	v, err := verify.New(verify.Config{
		BaseURL:     os.Getenv("AUTHSEC_BASE_URL"),
		Tenants:     []string{os.Getenv("TENANT_ID")},
		Audience:    "authsec-api",
		MaxLifetime: 2 * time.Hour, // of the delegations for this API
		Logger:      slog.Default(),
	})
	if err != nil {
		log.Fatal(err)
	}
	mayRead := verify.RequirePermissions("billing:read")
	mux := http.NewServeMux()
	mux.Handle("GET /customers/{id}", v.Handler(mayRead(http.HandlerFunc(customer))))

	server := &http.Server{
		Addr:              cmp.Or(os.Getenv("LISTEN"), "127.0.0.1:8080"),
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
	}
	log.Fatal(server.ListenAndServe()) // behind TLS in production
}

// customer runs only for a good token with the permission billing:read.
func customer(w http.ResponseWriter, r *http.Request) {
	claims, _ := verify.FromContext(r.Context())
	slog.Info("customer read", "customer", r.PathValue("id"), "by", claims) // shows no whole client ID, and no email
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, "{\"customer\":%q}\n", r.PathValue("id"))
}
