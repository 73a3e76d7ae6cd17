// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/authsec-go/authsec/authsectest"
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	grafana "github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"sigs.k8s.io/yaml"
)

const dashboardFile = "kubernetes/components/monitoring/dashboard.json"

var queryParser = parser.NewParser(parser.Options{})

// query is PromQL of a rule or a panel.
type query struct{ where, expr string }

// panel is a panel and its queries.
type panel struct {
	dashboard.Panel
	queries []grafana.Dataquery
}

// strict decodes JSON, and refuses fields that do not exist.
func strict(t *testing.T, where string, raw []byte, into interface{ UnmarshalJSONStrict([]byte) error }) {
	t.Helper()
	err := into.UnmarshalJSONStrict(raw)
	if faults := (cog.BuildErrors)(nil); !errors.As(err, &faults) || len(faults) > 0 { // success is an empty list
		t.Fatalf("%s: %s: %v", dashboardFile, where, err)
	}
}

// decodeDashboard decodes the dashboard, its panels and their queries one by one: the
// library mistakes an inner part's empty list of errors for an error, and leaves that
// part out.
//
//lint:ignore SA1019 it is in the schema that all versions of Grafana load; the newer one needs Grafana 12
func decodeDashboard(t *testing.T) (d dashboard.Dashboard, panels []panel) {
	t.Helper()
	cog.NewRuntime().RegisterPanelcfgVariant(stat.VariantConfig())
	cog.NewRuntime().RegisterPanelcfgVariant(timeseries.VariantConfig())
	var list []json.RawMessage
	strict(t, "without panels", cut(t, []byte(contents(t, dashboardFile)), "panels", &list), &d)
	for i, raw := range list {
		var p panel
		var targets []json.RawMessage
		strict(t, fmt.Sprintf("panel %d", i), cut(t, raw, "targets", &targets), &p.Panel)
		var fields json.RawMessage
		cut(t, raw, "fieldConfig", &fields)
		strict(t, fmt.Sprintf("panel %d, fieldConfig", i), fields, new(dashboard.FieldConfigSource))
		for j, raw := range targets {
			var q grafana.Dataquery
			strict(t, fmt.Sprintf("panel %d, target %d", i, j), raw, &q)
			p.queries = append(p.queries, q)
		}
		panels = append(panels, p)
	}
	return d, panels
}

// cut decodes a field of an object, and returns the object without it.
func cut(t *testing.T, raw []byte, field string, into any) []byte {
	t.Helper()
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(fields[field], into); err != nil {
		t.Fatalf("%s: %v", field, err)
	}
	delete(fields, field)
	rest, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return rest
}

// variables are what Grafana replaces before it asks Prometheus.
var variables = strings.NewReplacer("$__rate_interval", "2m", "$namespace", "production", "$pod", ".*")

var labelValues = regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)

// queries are those of the dashboard and of the rules.
func queries(t *testing.T) (all []query) {
	t.Helper()
	d, panels := decodeDashboard(t)
	for _, p := range panels {
		if len(p.queries) == 0 {
			t.Errorf("the panel %q asks nothing", *p.Title)
		}
		for _, q := range p.queries {
			all = append(all, query{*p.Title, variables.Replace(q.Expr)})
		}
	}
	for _, v := range d.Templating.List {
		if v.Type != dashboard.VariableTypeQuery {
			continue
		}
		m := labelValues.FindStringSubmatch(*v.Query.String)
		if m == nil {
			t.Fatalf("the variable %s asks %q", v.Name, *v.Query.String)
		}
		all = append(all, query{"$" + v.Name, fmt.Sprintf("sum by (%s) (%s)", m[2], variables.Replace(m[1]))})
	}
	for name, rule := range rules(t) {
		all = append(all, query{name, rule.Expr})
	}
	return all
}

// rules are the alerts, as Prometheus reads them: it checks the templates, too.
func rules(t *testing.T) map[string]rulefmt.Rule {
	t.Helper()
	spec, err := yaml.Marshal(build(t, production).rules[0].Spec)
	if err != nil {
		t.Fatal(err)
	}
	groups, faults := rulefmt.Parse(spec, false, model.UTF8Validation, queryParser, nil)
	if len(faults) > 0 {
		t.Fatalf("rules: %v", faults)
	}
	all := map[string]rulefmt.Rule{}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			if r.Alert == "" || r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("the rule %q lacks a name, a severity, a summary or a description", r.Alert)
			}
			all[r.Alert] = r
		}
	}
	return all
}

// targetLabels are those that Prometheus adds.
var targetLabels = []string{model.MetricNameLabel, "namespace", "pod", "container", "endpoint", "job", "instance"}

// metricsOfAProxy returns the labels of each metric that a proxy serves, by the
// metric's name.
func metricsOfAProxy(t *testing.T) map[string][]string {
	t.Helper()
	p := start(t, "http://127.0.0.1:1", nil) // nothing listens there
	p.srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	if code, body := get(t, p.listen+"/"); code != 502 {
		t.Fatalf("without an API: %d %s, want 502", code, body)
	}
	_, text := get(t, p.health+"/metrics", "Accept", "text/plain")
	decoder := expfmt.NewTextParser(model.UTF8Validation)
	families, err := decoder.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{"up": {}}
	for name, family := range families {
		known := []string{}
		for _, m := range family.Metric {
			for _, l := range m.Label {
				known = append(known, l.GetName())
			}
		}
		all[name] = known
		if family.Metric[0].Histogram != nil {
			all[name+"_bucket"], all[name+"_sum"], all[name+"_count"] = append(known, "le"), known, known
		}
	}
	return all
}

// Prometheus' own parser reads each query, and a running proxy has each metric with
// each label that a query names.
func TestQueriesNameWhatTheProxyServes(t *testing.T) {
	metrics := metricsOfAProxy(t)
	asked := map[string]bool{}
	for _, q := range queries(t) {
		expr, err := queryParser.ParseExpr(q.expr)
		if err != nil {
			t.Errorf("%s: %v\n%s", q.where, err, q.expr)
			continue
		}
		var known []string
		parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
			if v, ok := node.(*parser.VectorSelector); ok {
				asked[v.Name] = true
				names, exists := metrics[v.Name]
				if !exists {
					t.Errorf("%s: there is no metric %s", q.where, v.Name)
				}
				for _, m := range v.LabelMatchers {
					if !slices.Contains(slices.Concat(names, targetLabels), m.Name) {
						t.Errorf("%s: %s has no label %s, it has %q", q.where, v.Name, m.Name, names)
					}
				}
				known = append(known, names...)
			}
			return nil
		})
		parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
			if a, ok := node.(*parser.AggregateExpr); ok {
				for _, name := range a.Grouping {
					if !slices.Contains(slices.Concat(known, targetLabels), name) {
						t.Errorf("%s: groups by %s, which no metric has", q.where, name)
					}
				}
			}
			return nil
		})
	}
	for _, name := range slices.Sorted(maps.Keys(metrics)) {
		name = strings.TrimSuffix(strings.TrimSuffix(name, "_sum"), "_count")
		if strings.HasPrefix(name, "authsec_") && !asked[name] && !asked[name+"_bucket"] {
			t.Errorf("neither a panel nor an alert shows %s", name)
		}
	}
}

var errorMatcher = regexp.MustCompile(`error=~?"([a-z_|]+)"`)

// The codes in queries are among those in docs/sidecar.md.
func TestErrorCodesOfQueriesAreDocumented(t *testing.T) {
	page := contents(t, "../docs/sidecar.md")
	seen := 0
	for _, q := range queries(t) {
		if strings.Contains(q.expr, `error!=""`) {
			t.Errorf("%s: it counts gone, which is no failure", q.where)
		}
		for _, m := range errorMatcher.FindAllStringSubmatch(q.expr, -1) {
			for code := range strings.SplitSeq(m[1], "|") {
				seen++
				if !strings.Contains(page, "`"+code+"`") {
					t.Errorf("%s: docs/sidecar.md has no error %s", q.where, code)
				}
			}
		}
	}
	if seen < 3 {
		t.Errorf("%d codes were checked", seen)
	}
}

// Panels do not overlap, and Grafana's 24 columns hold them.
func TestPanelsHaveTheirPlaces(t *testing.T) {
	taken := map[[2]uint32]string{}
	ids := map[uint32]bool{}
	_, panels := decodeDashboard(t)
	for _, p := range panels {
		at, title := p.GridPos, *p.Title
		if ids[*p.Id] || at.X+at.W > 24 {
			t.Errorf("%q has the id of another panel, or is too wide", title)
		}
		ids[*p.Id] = true
		for x := at.X; x < at.X+at.W; x++ {
			for y := at.Y; y < at.Y+at.H; y++ {
				if other, ok := taken[[2]uint32{x, y}]; ok && other != title {
					t.Fatalf("%q lies over %q", title, other)
				}
				taken[[2]uint32{x, y}] = title
			}
		}
	}
}
