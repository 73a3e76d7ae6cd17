// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"strconv"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
)

// perRequest is what a request costs the proxy at most: 204 MiB were measured with 512
// at once and more waiting, all with 30 KiB of headers and 63 KiB of a body.
const perRequest = 400 << 10

// The worst programs must not get the proxy killed for memory.
func TestTheMemoryLimitHolds(t *testing.T) {
	check := func(where, connections, soft string, limit int64) {
		t.Helper()
		n, err := strconv.ParseInt(connections, 10, 64)
		if err != nil || n*perRequest > limit*9/10 {
			t.Errorf("%s: %s connections cost %d MiB, %v, want less than the limit of %d MiB", where, connections, n*perRequest>>20, err, limit>>20)
		}
		// Go writes MiB, Kubernetes Mi.
		at, err := resource.ParseQuantity(soft[:max(0, len(soft)-1)])
		if err != nil || at.Value() > limit*9/10 || at.Value() < limit/2 {
			t.Errorf("%s: GOMEMLIMIT is %s, %v, want a little less than the limit of %d MiB", where, soft, err, limit>>20)
		}
	}
	for _, dir := range []string{base, production} {
		c, env := build(t, dir).sidecar(t), map[string]string{}
		for _, e := range c.Env {
			env[e.Name] = e.Value
		}
		check(dir, env["AUTHSEC_PROXY_MAX_CONNECTIONS"], env["GOMEMLIMIT"], c.Resources.Limits.Memory().Value())
	}
	p, err := project(t, map[string]string{"AUTHSEC_BASE_URL": "a", "AUTHSEC_AGENT_CLIENT_ID": "a", "AUTHSEC_PROXY_UPSTREAM": "a", "AGENT_IMAGE": "a"})
	if err != nil {
		t.Fatal(err)
	}
	proxy := p.Services[sidecarName]
	env := func(name string) string {
		if v := proxy.Environment[name]; v != nil {
			return *v
		}
		return ""
	}
	check("compose.yaml", env("AUTHSEC_PROXY_MAX_CONNECTIONS"), env("GOMEMLIMIT"), int64(proxy.MemLimit))
}
