package machine

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

func TestAtRefusesPathsTooLongForSockets(t *testing.T) {
	if _, err := At("/" + strings.Repeat("d", maxDataDir)); problem.ExitCode(err) != problem.ExitUsage {
		t.Errorf("got %v", err)
	}
	m, err := At("/" + strings.Repeat("d", maxDataDir-1))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{m.NodeSocket(), m.BuildSocket(), m.GatewaySocket(), m.ServerSocket()} {
		if len(s) > 103 {
			t.Errorf("%s has %d bytes", s, len(s))
		}
	}
}

func TestSettingsAreKept(t *testing.T) {
	m, err := At(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if s, err := m.Settings(); err != nil || s.Listen != DefaultListen || s.GatewayListen != DefaultGatewayListen {
		t.Errorf("before the first start: %+v, %v", s, err)
	}
	want := Settings{"127.0.0.1:1", "127.0.0.1:2"}
	if err := m.prepare(want); err != nil {
		t.Fatal(err)
	}
	if s, err := m.Settings(); err != nil || s != want {
		t.Errorf("got %+v, %v", s, err)
	}
	if err := os.WriteFile(m.settingsPath(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Settings(); err == nil {
		t.Error("broken settings were read")
	}
}

func TestStatusOfNothing(t *testing.T) {
	m, err := At(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	st, err := m.Status(t.Context())
	if err != nil || st.Ready || st.Supervised || len(st.Processes) != 3 {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestWipeRefusesForeignDirectories(t *testing.T) {
	dir := t.TempDir()
	precious := filepath.Join(dir, "precious")
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := At(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Down(t.Context(), DownOptions{Wipe: true}); problem.ExitCode(err) != problem.ExitUsage {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
	if err := m.prepare(Settings{}); err != nil {
		t.Fatal(err)
	}
	if err := m.Down(t.Context(), DownOptions{Wipe: true}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
	if err := m.Down(t.Context(), DownOptions{Wipe: true}); err != nil {
		t.Errorf("again: %v", err)
	}
}

func TestLastError(t *testing.T) {
	for _, tc := range []struct{ log, want string }{
		{"", ""},
		{"one\ntwo\n", "two"},
		{"error: port taken\nhint: x\n", "port taken"},
		{`{"msg":"a"}` + "\n" + `{"msg":"start etcd","error":"disk full"}` + "\n" + `{"msg":"bye"}`, "start etcd: disk full"},
	} {
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, []byte(tc.log), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := lastError(path); got != tc.want {
			t.Errorf("lastError(%q) = %q, want %q", tc.log, got, tc.want)
		}
	}
	if got := lastError("/does/not/exist"); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestCleanEnvKeepsNoSecrets(t *testing.T) {
	t.Setenv("PATH", "/opt/x:/usr/bin")
	got := strings.Join(cleanEnv([]string{"HOME=/root", "AWS_SECRET_ACCESS_KEY=s", "GITHUB_TOKEN=s", "PENSTOCK_TOKEN=s", "PENSTOCK_NODE=/n", "PATH=/evil"}), "\n")
	for _, want := range []string{"HOME=/root", "PENSTOCK_NODE=/n", "PATH=/opt/x:/usr/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin:/bin"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in %q", want, got)
		}
	}
	if strings.Contains(got, "=s") || strings.Contains(got, "evil") {
		t.Errorf("a secret or a foreign PATH got through: %q", got)
	}
	t.Setenv("PENSTOCK_DATABASE", "postgres://u:s@db/x")
	t.Setenv("PENSTOCK_NODE", "/n")
	m, err := At(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	specs, err := m.specs(Settings{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range specs {
		if has := slices.Contains(s.Env, "PENSTOCK_DATABASE=postgres://u:s@db/x"); has != (s.Name == Server) {
			t.Errorf("%s knows the database: %t", s.Name, has)
		}
	}
}
