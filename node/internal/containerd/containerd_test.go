package containerd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
)

func params() Params {
	return Params{
		Root: "/d/containerd/root", State: "/d/run/containerd", Socket: "/d/run/containerd.sock", CNIBin: "/usr/lib/cni",
		CNIConf: "/d/cni/net.d", Runc: "/usr/sbin/runc", PauseImage: "penstock.localhost:7080/penstock/pause:1", HostsDir: "/d/registry/hosts",
	}
}

// TestConfig compares the configurations of three kinds of machines with
// checked-in files.
func TestConfig(t *testing.T) {
	for name, change := range map[string]func(*Params){
		"full":            func(*Params) {},
		"no-sys-resource": func(p *Params) { p.RestrictOOM = true },
		"apparmor":        func(p *Params) { p.AppArmor = true },
	} {
		t.Run(name, func(t *testing.T) {
			p := params()
			change(&p)
			got := Config(p)
			var any map[string]any
			if err := toml.Unmarshal([]byte(got), &any); err != nil {
				t.Fatalf("not TOML: %v", err)
			}
			golden := filepath.Join("testdata", name+".toml")
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("differs from %s (-want +got):\n%s", golden, d)
			}
		})
	}
}

func TestConfigQuotes(t *testing.T) {
	p := params()
	p.Root = `/a "b"\c`
	var c struct{ Root string }
	if err := toml.Unmarshal([]byte(Config(p)), &c); err != nil || c.Root != p.Root {
		t.Errorf("root is %q, %v", c.Root, err)
	}
}

func TestRotate(t *testing.T) {
	f := filepath.Join(t.TempDir(), "log")
	if err := rotate(f); err != nil {
		t.Errorf("a log that is not there: %v", err)
	}
	line := strings.Repeat("x", 1023) + "\n"
	if err := os.WriteFile(f, []byte(strings.Repeat(line, maxLog/1024)), 0o600); err != nil {
		t.Fatal(err)
	}
	writer, err := os.OpenFile(f, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	if err := rotate(f); err != nil {
		t.Fatal(err)
	}
	if _, err := writer.WriteString("after\n"); err != nil { // as containerd does, which is not told
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(f); string(b) != "after\n" {
		t.Errorf("the log is %.40q", b)
	}
	kept, err := os.ReadFile(f + ".1")
	if err != nil || len(kept) < maxLog/3 || len(kept) > maxLog/2 || !strings.HasSuffix(string(kept), line) {
		t.Errorf("kept %d bytes, %v", len(kept), err)
	}
}
