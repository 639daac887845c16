package registry

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
)

var good = Settings{Names: []string{"penstock.localhost:7080"}, Endpoint: "http://127.0.0.1:7080", Token: "pnt_0123"}

func TestSettingsAreKeptAndWrittenForContainerd(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "registry")
	c, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Settings{}, c.Get()); diff != "" {
		t.Errorf("at first:\n%s", diff)
	}
	changes := 0
	c.OnChange(func() { changes++ })
	for range 2 {
		if err := c.Set(good); err != nil {
			t.Fatal(err)
		}
	}
	if changes != 1 {
		t.Errorf("%d changes", changes)
	}
	moved := good
	moved.Names, moved.Endpoint = []string{"other.localhost:1"}, "http://127.0.0.1:1"
	if err := c.Set(moved); err != nil {
		t.Fatal(err)
	}
	again, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(moved, again.Get()); diff != "" {
		t.Errorf("after a restart:\n%s", diff)
	}
	var names []string
	entries, err := os.ReadDir(again.HostsDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
		file := filepath.Join(again.HostsDir(), e.Name(), "hosts.toml")
		if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", file, fi.Mode(), err)
		}
	}
	if diff := cmp.Diff([]string{"_default", "other.localhost:1"}, names); diff != "" {
		t.Errorf("hosts:\n%s", diff)
	}
}

func TestHostsAreWhatContainerdReads(t *testing.T) {
	type host struct {
		Capabilities []string
		Header       map[string]string
	}
	want := map[string]host{good.Endpoint: {[]string{"pull", "resolve"}, map[string]string{"Authorization": "Bearer pnt_0123"}}}
	for server, text := range map[string]string{good.Endpoint: ownHosts(good), "": defaultHosts(good)} {
		var got struct {
			Server string
			Host   map[string]host
		}
		if err := toml.Unmarshal([]byte(text), &got); err != nil {
			t.Fatal(err)
		}
		if got.Server != server {
			t.Errorf("server %q, want %q", got.Server, server)
		}
		if diff := cmp.Diff(want, got.Host); diff != "" {
			t.Errorf("hosts:\n%s", diff)
		}
	}
}

func TestSettingsThatCannotBeUsed(t *testing.T) {
	for name, change := range map[string]func(*Settings){
		"no names":      func(s *Settings) { s.Names = nil },
		"path as name":  func(s *Settings) { s.Names = []string{"../../etc"} },
		"default":       func(s *Settings) { s.Names = []string{"_default"} },
		"no endpoint":   func(s *Settings) { s.Endpoint = "" },
		"other scheme":  func(s *Settings) { s.Endpoint = "unix:///x" },
		"endpoint path": func(s *Settings) { s.Endpoint += "/x" },
		"quote":         func(s *Settings) { s.Token = "a\"\nb" },
		"no token":      func(s *Settings) { s.Token = "" },
	} {
		c, err := Load(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		s := good
		change(&s)
		if err := c.Set(s); !errors.Is(err, ErrInvalid) || (s.Token != "" && strings.Contains(err.Error(), s.Token)) {
			t.Errorf("%s: %v", name, err)
		}
		if left, _ := filepath.Glob(filepath.Join(c.dir, "*", "*")); len(left) != 0 {
			t.Errorf("%s: wrote %v", name, left)
		}
	}
}
