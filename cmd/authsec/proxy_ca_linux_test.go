// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/pem"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestProxyTrustsTheCAsOfSSLCertFile(t *testing.T) {
	srv, _ := agent(t)
	api := httptest.NewUnstartedServer(srv.API(nil))
	api.Config.ErrorLog = log.New(io.Discard, "", 0)
	api.StartTLS()
	defer api.Close()
	p := startProcess(t, api.URL, "--attempts", "1")
	if status, _, body := get(t, "http://"+p.addr); status != 502 || !strings.Contains(p.logs.String(), "certificate") {
		t.Errorf("without the CA: %d, %s, want 502, and a log that names the certificate:\n%s", status, body, p.logs.String())
	}
	p.cmd.Process.Kill()
	p.exit(t)
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", file)
	p = startProcess(t, api.URL)
	if status, _, body := get(t, "http://"+p.addr); status != 200 {
		t.Errorf("with the CA: %d, %s, want 200", status, body)
	}
	p.cmd.Process.Kill()
	p.exit(t)
}
