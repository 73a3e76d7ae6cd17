// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package deploy_test checks the files for deployment: they are decoded strictly,
// kustomize's own library builds them, and a real proxy runs with their environment.
// No cluster and no Docker are needed.
package deploy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const (
	base       = "kubernetes/base"
	production = "kubernetes/overlays/production"

	sidecarName = "authsec-proxy"
)

func contents(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// kinds makes an empty object for each kind that the manifests may have.
var kinds = map[string]func() any{
	"apps/v1 Deployment":                      func() any { return new(apps.Deployment) },
	"v1 ServiceAccount":                       func() any { return new(core.ServiceAccount) },
	"v1 ConfigMap":                            func() any { return new(core.ConfigMap) },
	"policy/v1 PodDisruptionBudget":           func() any { return new(policy.PodDisruptionBudget) },
	"networking.k8s.io/v1 NetworkPolicy":      func() any { return new(networking.NetworkPolicy) },
	"monitoring.coreos.com/v1 PodMonitor":     func() any { return new(monitoring.PodMonitor) },
	"monitoring.coreos.com/v1 PrometheusRule": func() any { return new(monitoring.PrometheusRule) },

	"kustomize.config.k8s.io/v1beta1 Kustomization": func() any { return new(types.Kustomization) },
	"kustomize.config.k8s.io/v1alpha1 Component":    func() any { return new(types.Kustomization) },
}

// decode decodes a document and refuses fields that its kind does not have, and
// fields that are there twice.
func decode(t *testing.T, name, document string) any {
	t.Helper()
	var meta struct{ APIVersion, Kind string }
	if err := yaml.Unmarshal([]byte(document), &meta); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	kind := kinds[meta.APIVersion+" "+meta.Kind]
	if kind == nil {
		t.Fatalf("%s: unknown kind %s %s", name, meta.APIVersion, meta.Kind)
	}
	object := kind()
	if err := yaml.UnmarshalStrict([]byte(document), object); err != nil {
		t.Fatalf("%s, a %s: %v", name, meta.Kind, err)
	}
	return object
}

// documents are the YAML documents of a text.
func documents(text string) []string { return strings.Split(text, "\n---\n") }

// manifests are the objects that "kubectl apply -k" would send.
type manifests struct {
	deployment *apps.Deployment
	accounts   []*core.ServiceAccount
	configs    []*core.ConfigMap
	budgets    []*policy.PodDisruptionBudget
	policies   []*networking.NetworkPolicy
	monitors   []*monitoring.PodMonitor
	rules      []*monitoring.PrometheusRule
}

func build(t *testing.T, dir string) (m manifests) {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatalf("%s: %v", dir, err)
	}
	for _, r := range built.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		switch o := decode(t, dir+" "+r.GetName(), string(text)).(type) {
		case *apps.Deployment:
			if m.deployment != nil {
				t.Fatalf("%s has two Deployments", dir)
			}
			m.deployment = o
		case *core.ServiceAccount:
			m.accounts = append(m.accounts, o)
		case *core.ConfigMap:
			m.configs = append(m.configs, o)
		case *policy.PodDisruptionBudget:
			m.budgets = append(m.budgets, o)
		case *networking.NetworkPolicy:
			m.policies = append(m.policies, o)
		case *monitoring.PodMonitor:
			m.monitors = append(m.monitors, o)
		case *monitoring.PrometheusRule:
			m.rules = append(m.rules, o)
		}
	}
	if m.deployment == nil {
		t.Fatalf("%s has no Deployment", dir)
	}
	return m
}

// sidecar is the proxy's container, and agent the other one.
func (m manifests) sidecar(t *testing.T) core.Container {
	t.Helper()
	all := m.deployment.Spec.Template.Spec.InitContainers
	if len(all) != 1 || all[0].Name != sidecarName {
		t.Fatalf("the init containers are %v, want %s alone", all, sidecarName)
	}
	return all[0]
}

func (m manifests) agent(t *testing.T) core.Container {
	t.Helper()
	all := m.deployment.Spec.Template.Spec.Containers
	if len(all) != 1 || all[0].Name != "agent" {
		t.Fatalf("the containers are %v, want the agent alone", all)
	}
	return all[0]
}

// environment is what the sidecar gets. A value from a Secret is "".
func (m manifests) environment(t *testing.T) map[string]string {
	t.Helper()
	env := map[string]string{}
	c := m.sidecar(t)
	for _, from := range c.EnvFrom {
		found := false
		for _, config := range m.configs {
			if config.Name == from.ConfigMapRef.Name {
				found = true
				for name, value := range config.Data {
					env[name] = value
				}
			}
		}
		if !found {
			t.Errorf("there is no ConfigMap %s", from.ConfigMapRef.Name)
		}
	}
	for _, e := range c.Env {
		env[e.Name] = e.Value
	}
	return env
}

// walk calls f with each file below deploy that has one of the endings.
func walk(t *testing.T, f func(name string), endings ...string) {
	t.Helper()
	seen := 0
	err := filepath.WalkDir(".", func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		for _, ending := range endings {
			if strings.HasSuffix(name, ending) {
				seen++
				f(name)
			}
		}
		return nil
	})
	if err != nil || seen == 0 {
		t.Fatalf("%d files: %v", seen, err)
	}
}
