// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

func project(t *testing.T, env map[string]string) (*types.Project, error) {
	t.Helper()
	return loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir:  ".",
		ConfigFiles: []types.ConfigFile{{Filename: "compose.yaml", Content: []byte(contents(t, "compose.yaml"))}},
		Environment: maps.Clone(env),
	})
}

// Compose's own loader checks the file against its schema.
func TestComposeFile(t *testing.T) {
	env := map[string]string{
		"AUTHSEC_BASE_URL":        "https://authsec.example.com",
		"AUTHSEC_AGENT_CLIENT_ID": "9b477e30-3989-4c12-926c-3945a59f761f",
		"AUTHSEC_PROXY_UPSTREAM":  "https://api.example.com",
		"AGENT_IMAGE":             "agent",
	}
	p, err := project(t, env)
	if err != nil {
		t.Fatal(err)
	}
	proxy, agent := p.Services[sidecarName], p.Services["agent"]
	if len(p.Services) != 2 || proxy.Build == nil || proxy.Build.Dockerfile != "deploy/Dockerfile" {
		t.Errorf("the services are %v", p.ServiceNames())
	}
	for name, want := range env {
		if strings.HasPrefix(name, "AUTHSEC_") && (proxy.Environment[name] == nil || *proxy.Environment[name] != want) {
			t.Errorf("the proxy does not get %s", name)
		}
	}
	// The two share a loopback address, and nothing else reaches it.
	listen := *proxy.Environment["AUTHSEC_PROXY_LISTEN"]
	if got := *agent.Environment["API_URL"]; got != "http://"+listen || !strings.HasPrefix(listen, "127.0.0.1:") || agent.NetworkMode != "service:"+sidecarName {
		t.Errorf("the agent calls %s in the network %q, and the proxy listens on %s", got, agent.NetworkMode, listen)
	}
	if len(proxy.Ports) != 1 || proxy.Ports[0].HostIP != "127.0.0.1" || *proxy.Environment["AUTHSEC_PROXY_HEALTH"] != ":"+proxy.Ports[0].Published {
		t.Errorf("the published ports are %+v, want that of --health on 127.0.0.1", proxy.Ports)
	}
	if grace := proxy.StopGracePeriod; grace == nil || time.Duration(*grace) <= 25*time.Second {
		t.Errorf("the proxy has %v to end, want more than --drain", grace)
	}
	for name, s := range p.Services {
		if !s.ReadOnly || s.Privileged || !slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.CapAdd) > 0 {
			t.Errorf("%s has more rights than it needs", name)
		}
	}
	if !slices.Contains([]string(agent.Tmpfs), "/tmp") {
		t.Error("the agent can't write to /tmp")
	}
	for name := range env {
		missing := map[string]string{}
		for other, value := range env {
			if other != name {
				missing[other] = value
			}
		}
		if _, err := project(t, missing); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v, want an error that names it", name, err)
		}
	}
}
