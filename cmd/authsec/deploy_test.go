// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/authsectest"
)

const (
	manifest   = "../../deploy/kubernetes/agent.yaml"
	dockerfile = "../../deploy/Dockerfile"
)

func contents(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var (
	variable    = regexp.MustCompile(`\b(?:AUTHSEC|DOWNSTREAM)_[A-Z_]+\b`)
	flagMention = regexp.MustCompile(`(?:^|[\s"])-([a-z][a-z-]+)\b`)
	comment     = regexp.MustCompile(`#.*`)
	entry       = regexp.MustCompile(`- name: (\w+)(?: +#.*)?\n +value: "?([^"\s]+)"?`)
	probe       = regexp.MustCompile(`\n +path: (\S+)\n +port: (\w+)`)
	grace       = regexp.MustCompile(`terminationGracePeriodSeconds: (\d+)`)
	started     = regexp.MustCompile(`(?:args: |CMD )\["(\w+)"\]`)
)

func TestDeployNamesWhatExists(t *testing.T) {
	known := map[string]bool{}
	for _, name := range variable.FindAllString(usage, -1) {
		known[name] = true
	}
	flags, f := newProxyFlags(io.Discard)
	flags.VisitAll(func(f *flag.Flag) { known[envName(f.Name)] = true })
	for _, name := range []string{manifest, dockerfile} {
		text := contents(t, name)
		for _, v := range variable.FindAllString(text, -1) {
			if !known[v] {
				t.Errorf("%s: there is no %s", name, v)
			}
		}
		if m := started.FindStringSubmatch(text); m == nil || !strings.Contains(usage, "\n  "+m[1]+" ") {
			t.Errorf("%s: starts the command %q, which is none", name, m)
		}
		if name == dockerfile {
			continue // its flags are those of docker and go
		}
		for _, c := range comment.FindAllString(text, -1) {
			for _, m := range flagMention.FindAllStringSubmatch(c, -1) {
				if flags.Lookup(m[1]) == nil && !strings.Contains(c, "kubectl") {
					t.Errorf("%s: there is no flag -%s", name, m[1])
				}
			}
		}
	}

	// The manifest's values fit together, and the proxy accepts them.
	text := contents(t, manifest)
	env := map[string]string{}
	for _, m := range entry.FindAllStringSubmatch(text, -1) {
		env[m[1]] = m[2]
	}
	for name, value := range env {
		if strings.HasPrefix(name, envPrefix) {
			t.Setenv(name, strings.NewReplacer("<", "", ">", "").Replace(value))
		}
	}
	if err := fromEnv(flags); err != nil {
		t.Fatal(err)
	}
	f.upstream = "https://api.example.com" // in the manifest it is to be filled in
	if _, err := f.check(); err != nil {
		t.Error(err)
	}
	if want := "http://" + f.listen; env["API_URL"] != want {
		t.Errorf("the agent calls %s, want %s, where the proxy listens", env["API_URL"], want)
	}
	host, port, err := net.SplitHostPort(f.health)
	if err != nil || host != "" || !strings.Contains(text, "containerPort: "+port+"\n") || !strings.Contains(text, `prometheus.io/port: "`+port+`"`) {
		t.Errorf("the kubelet does not reach -health %s, or is told of another port", f.health)
	}
	m := grace.FindStringSubmatch(text)
	if m == nil {
		t.Fatal("no terminationGracePeriodSeconds")
	}
	if s, _ := strconv.Atoi(m[1]); time.Duration(s)*time.Second <= f.drain {
		t.Errorf("the pod is ended after %d s, want more than -drain, %v", s, f.drain)
	}

	srv := authsectest.NewServer()
	defer srv.Close()
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	src, err := authsec.NewSource(srv.Config(authsectest.ClientID))
	if err != nil {
		t.Fatal(err)
	}
	health := testSidecar(t, src).healthHandler()
	probes := probe.FindAllStringSubmatch(text, -1)
	if len(probes) != 3 {
		t.Errorf("%d probes, want three", len(probes))
	}
	for _, m := range probes {
		w := httptest.NewRecorder()
		health.ServeHTTP(w, httptest.NewRequest(http.MethodGet, m[1], nil))
		if w.Code != 200 || m[2] != "health" {
			t.Errorf("the probe of %s on port %s: %d, want 200 on health", m[1], m[2], w.Code)
		}
	}
}

// The agent is onboarded with these selectors in the console.
func TestManifestHasTheSelectorsThatItNames(t *testing.T) {
	text := contents(t, manifest)
	for selector, field := range map[string]string{
		"k8s:ns":             "namespace: ",
		"k8s:sa":             "serviceAccountName: ",
		"k8s:pod-label:app":  "      labels:\n        app: ",
		"k8s:container-name": "      containers:\n        - name: ",
	} {
		m := regexp.MustCompile(`(?m)^# +` + selector + ` +(\S+)$`).FindStringSubmatch(text)
		if m == nil {
			t.Errorf("the manifest does not tell the selector %s", selector)
		} else if !regexp.MustCompile(regexp.QuoteMeta(field+m[1]) + `\s`).MatchString(text) {
			t.Errorf("the selector %s is %s, and the manifest has no %q with it", selector, m[1], field)
		}
	}
}
