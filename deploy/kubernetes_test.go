// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"maps"
	"net"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/kustomize/api/types"
)

// Also the patches, of which kustomize takes fields that do not exist.
func TestManifestsDecodeStrictly(t *testing.T) {
	walk(t, func(name string) {
		if filepath.Dir(name) == "." {
			return // compose.yaml
		}
		for _, document := range documents(contents(t, name)) {
			decode(t, name, document)
		}
	}, ".yaml")
}

// Each file is a resource, a patch or a generator's input of the kustomization in its
// directory. Each component is used.
func TestEachFileIsNamed(t *testing.T) {
	named := map[string]bool{}
	walk(t, func(name string) {
		dir := filepath.Dir(name)
		named[name] = true
		k := decode(t, name, contents(t, name)).(*types.Kustomization)
		for _, file := range k.Resources {
			named[filepath.Join(dir, file)] = true
		}
		for _, patch := range k.Patches {
			named[filepath.Join(dir, patch.Path)] = true
		}
		for _, component := range k.Components {
			named[filepath.Join(dir, component)] = true
		}
		for _, generator := range k.ConfigMapGenerator {
			for _, file := range generator.FileSources {
				_, file, _ = strings.Cut(file, "=")
				named[filepath.Join(dir, file)] = true
			}
		}
	}, "kustomization.yaml")
	walk(t, func(name string) {
		dir := filepath.Dir(name)
		if dir != "." && !named[name] {
			t.Errorf("no kustomization names %s", name)
		}
		if strings.Contains(dir, "components") && !named[dir] {
			t.Errorf("no overlay names %s", dir)
		}
	}, ".yaml", ".json")
}

// The platform's rules for pods, and what the proxy needs.
func TestPodIsRestrictedAndTheSidecarIsNative(t *testing.T) {
	for _, dir := range []string{base, production} {
		m := build(t, dir)
		sidecar, agent, pod := m.sidecar(t), m.agent(t), m.deployment.Spec.Template.Spec
		if p := sidecar.RestartPolicy; p == nil || *p != core.ContainerRestartPolicyAlways {
			t.Errorf("%s: the proxy's restartPolicy is not Always: it is an init container that the agent waits for", dir)
		}
		if c := pod.SecurityContext; !*c.RunAsNonRoot || *c.RunAsUser == 0 || c.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault || c.FSGroup != nil {
			t.Errorf("%s: the pod's securityContext is %+v", dir, c)
		}
		if mount := pod.AutomountServiceAccountToken; mount == nil || *mount {
			t.Errorf("%s: the containers get a token for the Kubernetes API", dir)
		}
		for _, c := range []core.Container{sidecar, agent} {
			s := c.SecurityContext
			if *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []core.Capability{"ALL"}) || len(s.Capabilities.Add) > 0 {
				t.Errorf("%s: the securityContext of %s is %+v", dir, c.Name, s)
			}
			if c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() {
				t.Errorf("%s: %s has no limit for memory, or no request for CPU", dir, c.Name)
			}
		}
		if !slices.ContainsFunc(agent.VolumeMounts, func(v core.VolumeMount) bool {
			return v.MountPath == "/tmp" && !v.ReadOnly && volume(pod, v.Name).EmptyDir != nil
		}) {
			t.Errorf("%s: the agent can't write to /tmp", dir)
		}
		for _, e := range agent.Env {
			if strings.HasPrefix(e.Name, "AUTHSEC_") {
				t.Errorf("%s: the agent gets %s, want the proxy alone", dir, e.Name)
			}
		}
		// The sidecar ends after the agent, and both have this time together.
		if s := time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second; s < 2*25*time.Second {
			t.Errorf("%s: the pod has %v to end, want twice --drain", dir, s)
		}
		for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
			for _, v := range c.VolumeMounts {
				if volume(pod, v.Name).Name == "" {
					t.Errorf("%s: %s mounts %s, which is no volume", dir, c.Name, v.Name)
				}
			}
		}
	}
}

func volume(pod core.PodSpec, name string) core.Volume {
	for _, v := range pod.Volumes {
		if v.Name == name {
			return v
		}
	}
	return core.Volume{}
}

func TestPortsFitTogether(t *testing.T) {
	m := build(t, production)
	env, sidecar := m.environment(t), m.sidecar(t)
	if host, _, err := net.SplitHostPort(env["AUTHSEC_PROXY_LISTEN"]); err != nil || !net.ParseIP(host).IsLoopback() {
		t.Errorf("the proxy listens on %q, want a loopback address", env["AUTHSEC_PROXY_LISTEN"])
	}
	if got, want := m.agent(t).Env[0], "http://"+env["AUTHSEC_PROXY_LISTEN"]; got.Value != want {
		t.Errorf("the agent calls %s, want %s, where the proxy listens", got.Value, want)
	}
	_, text, _ := net.SplitHostPort(env["AUTHSEC_PROXY_HEALTH"])
	health, _ := strconv.Atoi(text)
	if len(sidecar.Ports) != 1 || int(sidecar.Ports[0].ContainerPort) != health || len(sidecar.Ports[0].Name) > 15 {
		t.Fatalf("the proxy's ports are %v, want %d, with a name of at most 15 characters", sidecar.Ports, health)
	}
	name := sidecar.Ports[0].Name
	for kind, p := range map[string]*core.Probe{"startup": sidecar.StartupProbe, "readiness": sidecar.ReadinessProbe, "liveness": sidecar.LivenessProbe} {
		want := map[bool]string{true: "/readyz", false: "/healthz"}[kind == "readiness"]
		if p == nil || p.HTTPGet.Path != want || p.HTTPGet.Port.String() != name {
			t.Errorf("the %s probe is %v, want %s on %s", kind, p, want, name)
		}
	}
	if p := sidecar.ReadinessProbe; p.TimeoutSeconds <= 3 {
		t.Errorf("the readiness probe waits %d s, want more than readyz waits for a token, 3 s", p.TimeoutSeconds)
	}
	labels := m.deployment.Spec.Template.Labels
	selects := func(what string, s *meta.LabelSelector) {
		t.Helper()
		selector, err := meta.LabelSelectorAsSelector(s)
		if err != nil || selector.Empty() || !selector.Matches(set(labels)) {
			t.Errorf("%s selects %v, want the pod with the labels %v", what, s, labels)
		}
	}
	selects("the Deployment", m.deployment.Spec.Selector)
	if len(m.policies) != 1 || len(m.budgets) != 1 || len(m.monitors) != 1 || len(m.rules) != 1 {
		t.Fatalf("%d NetworkPolicies, %d PodDisruptionBudgets, %d PodMonitors and %d PrometheusRules, want one of each",
			len(m.policies), len(m.budgets), len(m.monitors), len(m.rules))
	}
	network := m.policies[0].Spec
	selects("the NetworkPolicy", &network.PodSelector)
	if len(network.Ingress) != 1 || len(network.Ingress[0].From) != 1 || len(network.Ingress[0].Ports) != 1 || network.Ingress[0].Ports[0].Port.IntValue() != health {
		t.Errorf("the NetworkPolicy permits %+v, want %d from one place", network.Ingress, health)
	}
	budget := m.budgets[0].Spec
	selects("the PodDisruptionBudget", budget.Selector)
	if p := budget.UnhealthyPodEvictionPolicy; *m.deployment.Spec.Replicas < 2 || budget.MaxUnavailable.IntValue() != 1 || p == nil || *p != policy.AlwaysAllow {
		t.Errorf("the PodDisruptionBudget is %+v for %d pods", budget, *m.deployment.Spec.Replicas)
	}
	monitor := m.monitors[0].Spec
	selects("the PodMonitor", &monitor.Selector)
	if e := monitor.PodMetricsEndpoints; len(e) != 1 || e[0].Path != "/metrics" || e[0].Port == nil || *e[0].Port != name {
		t.Errorf("the PodMonitor asks %+v, want /metrics on %s", e, name)
	}
}

// set is a labels.Labels.
type set map[string]string

func (s set) Has(name string) bool              { _, ok := s[name]; return ok }
func (s set) Get(name string) string            { return s[name] }
func (s set) Lookup(name string) (string, bool) { v, ok := s[name]; return v, ok }

// A mounted file is where the environment says that it is.
func TestFilesOfTheEnvironmentAreMounted(t *testing.T) {
	m := build(t, production)
	env, sidecar, pod := m.environment(t), m.sidecar(t), m.deployment.Spec.Template.Spec
	for name, want := range map[string]func(v core.Volume, file string) bool{
		"SSL_CERT_FILE": func(v core.Volume, file string) bool { return v.ConfigMap != nil && v.ConfigMap.Items == nil },
		"AUTHSEC_API_TOKEN_FILE": func(v core.Volume, file string) bool {
			s := v.Projected.Sources
			return len(s) == 1 && s[0].ServiceAccountToken.Path == file && s[0].ServiceAccountToken.Audience != ""
		},
		"AUTHSEC_PROXY_CACHE_KEY_FILE": func(v core.Volume, file string) bool {
			return len(v.Secret.Items) == 1 && v.Secret.Items[0].Path == file
		},
	} {
		i := slices.IndexFunc(sidecar.VolumeMounts, func(v core.VolumeMount) bool { return v.MountPath == filepath.Dir(env[name]) })
		if i < 0 || !sidecar.VolumeMounts[i].ReadOnly || !want(volume(pod, sidecar.VolumeMounts[i].Name), filepath.Base(env[name])) {
			t.Errorf("%s is %q, and no volume has that file", name, env[name])
		}
	}
	files := 0
	for name := range env {
		if strings.HasSuffix(name, "_FILE") {
			files++
		}
	}
	if files != 3 {
		t.Errorf("%d variables name files, want three: %v", files, slices.Sorted(maps.Keys(env)))
	}
}

// The agent is onboarded with these selectors in the console.
func TestSelectorsNameTheSidecar(t *testing.T) {
	m := build(t, production)
	got := map[string]string{}
	for _, s := range regexp.MustCompile(`(?m)^# +(k8s:\S+) +(\S+)$`).FindAllStringSubmatch(contents(t, base+"/sidecar.yaml"), -1) {
		got[s[1]] = s[2]
	}
	want := map[string]string{
		"k8s:ns":             m.deployment.Namespace,
		"k8s:sa":             m.deployment.Spec.Template.Spec.ServiceAccountName,
		"k8s:pod-label:app":  m.deployment.Spec.Template.Labels["app"],
		"k8s:container-name": m.sidecar(t).Name,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the selectors are %v, want %v", got, want)
	}
	if len(m.accounts) != 1 || m.accounts[0].Name != want["k8s:sa"] || m.accounts[0].Namespace != want["k8s:ns"] {
		t.Errorf("the service accounts are %v, want %s", m.accounts, want["k8s:sa"])
	}
}
