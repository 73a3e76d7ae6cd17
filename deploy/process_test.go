// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/authsec-go/authsec/authsectest"
)

// program builds the command once, and returns its path.
var program = sync.OnceValues(func() (string, error) {
	name := filepath.Join(temporary, "authsec")
	out, err := exec.Command("go", "build", "-C", "../cmd/authsec", "-o", name, ".").CombinedOutput()
	if err != nil {
		return "", &buildError{err, out}
	}
	return name, nil
})

type buildError struct {
	err error
	out []byte
}

func (e *buildError) Error() string { return e.err.Error() + "\n" + string(e.out) }

// temporary is a directory that lives as long as the tests.
var temporary string

func TestMain(m *testing.M) {
	var err error
	if temporary, err = os.MkdirTemp("", "deploy"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(temporary)
	os.Exit(code)
}

func authsec(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	name, err := program()
	if err != nil {
		t.Fatal(err)
	}
	return exec.CommandContext(t.Context(), name, args...)
}

// proxy is a running sidecar. srv is its AuthSec server.
type proxy struct {
	listen, health string
	srv            *authsectest.Server
}

// log is a proxy's standard error.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

var listening = regexp.MustCompile(`(?m)^{.*"msg":"listening".*$`)

// start runs the proxy with the environment that the manifests give it. Only what
// leads out of this machine is replaced: addresses, ports, Secrets and mounted files.
func start(t *testing.T, upstream string, more map[string]string) proxy {
	t.Helper()
	m := build(t, production)
	env := m.environment(t)
	srv := authsectest.NewServer()
	t.Cleanup(srv.Close)
	srv.Delegate(authsectest.ClientID, authsectest.Delegation{})
	for name, value := range map[string]string{
		"AUTHSEC_BASE_URL":        srv.URL,
		"AUTHSEC_AGENT_CLIENT_ID": authsectest.ClientID,
		"AUTHSEC_API_TOKEN_FILE":  file(t, "token", "a-service-account-token"),
		"AUTHSEC_PROXY_UPSTREAM":  upstream,
		"AUTHSEC_PROXY_LISTEN":    withoutPort(t, env["AUTHSEC_PROXY_LISTEN"]),
		"AUTHSEC_PROXY_HEALTH":    withoutPort(t, env["AUTHSEC_PROXY_HEALTH"]),
		"SSL_CERT_FILE":           "",

		"AUTHSEC_PROXY_CACHE":          "redis://127.0.0.1:1", // nothing listens there
		"AUTHSEC_PROXY_CACHE_KEY_FILE": file(t, "key", strings.Repeat("0f", 32)+"\n"),
	} {
		if _, ok := env[name]; !ok {
			t.Errorf("the manifests do not set %s", name)
		}
		env[name] = value
	}
	for name, value := range more {
		env[name] = value
	}
	cmd := authsec(t, m.sidecar(t).Args...)
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	out := new(log)
	cmd.Stderr = out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			cmd.Process.Kill()
			t.Errorf("the proxy did not end\n%s", out)
		}
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if line := listening.FindString(out.String()); line != "" {
			var at struct{ Listen, Health string }
			if err := json.Unmarshal([]byte(line), &at); err != nil {
				t.Fatal(err)
			}
			_, port, _ := net.SplitHostPort(at.Health)
			return proxy{"http://" + at.Listen, "http://127.0.0.1:" + port, srv}
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("the proxy ended: %v\n%s", err, out)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("the proxy does not listen\n%s", out)
		}
	}
}

// withoutPort lets the system choose the port.
func withoutPort(t *testing.T, address string) string {
	t.Helper()
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort(host, "0")
}

func file(t *testing.T, name, content string) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func get(t *testing.T, url string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// api is a protected API behind a private CA.
func api(t *testing.T) (url, caFile string) {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	srv.Config.ErrorLog = stdlog.New(io.Discard, "", 0) // a client without the CA file ends the handshake
	srv.StartTLS()
	t.Cleanup(srv.Close)
	block := &pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}
	return srv.URL, file(t, "ca.crt", string(pem.EncodeToMemory(block)))
}

// The proxy starts with the manifests' arguments and environment, and its probes and
// requests succeed. Without the CA file the API is not trusted.
func TestProxyRunsWithTheManifestsEnvironment(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has SSL_CERT_FILE for certain")
	}
	url, ca := api(t)
	p := start(t, url, map[string]string{"SSL_CERT_FILE": ca})
	sidecar := build(t, production).sidecar(t)
	for _, probe := range []string{sidecar.StartupProbe.HTTPGet.Path, sidecar.ReadinessProbe.HTTPGet.Path, sidecar.LivenessProbe.HTTPGet.Path} {
		if code, body := get(t, p.health+probe); code != 200 {
			t.Errorf("%s: %d %s, want 200", probe, code, body)
		}
	}
	if code, body := get(t, p.listen+"/"); code != 200 {
		t.Errorf("with the CA file: %d %s, want 200", code, body)
	}
	p = start(t, url, nil)
	if code, body := get(t, p.listen+"/"); code != 502 || !strings.Contains(body, "upstream_failed") {
		t.Errorf("without the CA file: %d %s, want 502 and upstream_failed", code, body)
	}
}

var variable = regexp.MustCompile(`\b(?:AUTHSEC|DOWNSTREAM)_[A-Z_]+\b`)

// All variables that the files name exist, by the command's own help.
func TestVariablesExist(t *testing.T) {
	known := map[string]bool{}
	for _, args := range [][]string{{"help"}, {"proxy", "--help"}} {
		help, err := authsec(t, args...).Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range variable.FindAllString(string(help), -1) {
			known[name] = true
		}
	}
	if len(known) < 10 {
		t.Fatalf("the help names %v", known)
	}
	walk(t, func(name string) {
		for _, v := range variable.FindAllString(contents(t, name), -1) {
			if !known[v] {
				t.Errorf("%s: there is no %s", name, v)
			}
		}
	}, ".yaml", "Dockerfile")
}

// The time that a pod has to end must exceed --drain, whose default the files tell.
func TestDrainIsTheDefault(t *testing.T) {
	help, err := authsec(t, "proxy", "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?s)--drain .{0,200}25s`).Match(help) {
		t.Errorf("the default of --drain is no longer 25s, which the files tell:\n%s", help)
	}
}
