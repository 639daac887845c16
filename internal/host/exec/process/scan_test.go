//go:build linux

package process

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	hostexec "github.com/penstock-dev/penstock/internal/host/exec"
	"github.com/penstock-dev/penstock/internal/host/exec/exectest"
)

func TestParseStat(t *testing.T) {
	const rest = " 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 777 9 10"
	for in, want := range map[string]*proc{
		"12 (sh) S 1 12 12" + rest:        {12, 1, 12, 12, "777"},
		"13 (a) b (c)) R 12 13 14" + rest: {13, 12, 13, 14, "777"},
		"14 (gone) Z 12 13 14" + rest:     nil,
		"12 (sh) S 1 12 12 0 -1":          nil,
		"":                                nil,
		"15 (x":                           nil,
		"16 (x) S":                        nil,
		"17 (x) S a b c d":                nil,
	} {
		got, ok := parseStat(in)
		if ok != (want != nil) || ok && got != *want {
			t.Errorf("%q: %+v, %v", in, got, ok)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("12 (sh) S 1 12 12 0 -1")
	f.Fuzz(func(_ *testing.T, s string) { parseStat(s) })
}

func TestDescendants(t *testing.T) {
	table := []proc{
		{1, 0, 1, 1, "t"},
		{10, 1, 10, 10, "t"},  // the command
		{11, 10, 10, 10, "t"}, // its child
		{12, 11, 12, 12, "t"}, // a grandchild in a session of its own
		{13, 1, 10, 10, "t"},  // orphaned, but in the session
		{14, 12, 14, 14, "t"},
		{20, 1, 20, 20, "t"}, // somebody else
		{21, 20, 20, 20, "t"},
		{30, 99, 30, 30, "t"}, // child of one we know
	}
	got := descendants(table, 10, map[int]string{99: "t"})
	slices.Sort(got)
	if d := cmp.Diff([]int{10, 11, 12, 13, 14, 30}, got); d != "" {
		t.Error(d)
	}
	if again := descendants(table, 10, map[int]string{10: "t", 11: "t", 12: "t", 13: "t", 14: "t", 30: "t"}); len(again) > 0 {
		t.Errorf("found again: %v", again)
	}
}

// Everything holds without control groups too, except that a process which has
// left its session and lost its parents before anybody looked is not found.
func TestConformanceWithoutGroups(t *testing.T) {
	rt := New(nil)
	rt.newTree = func(string) (tree, error) { return newScan(), nil }
	exectest.Run(t, rt, "close ends all")
}

// refusing is a tree in which no process can be started.
type refusing struct{}

func (refusing) branch(attr *syscall.SysProcAttr) (branch, error) {
	attr.UseCgroupFD, attr.CgroupFD = true, 0 // not a control group
	return &lineage{}, nil
}
func (refusing) remove() error { return nil }

func TestGroupRefused(t *testing.T) {
	rt := New(nil)
	rt.newTree = func(string) (tree, error) { return refusing{}, nil }
	s, err := rt.Open(t.Context(), hostexec.SessionSpec{ID: "refused", Workspace: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if code, err := s.Run(t.Context(), hostexec.Command{Args: []string{"sh", "-c", "sleep 1000 & exit 3"}, Env: s.Env()}); code != 3 || err != nil {
		t.Errorf("got %d, %v", code, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// Without control groups the tree is found in the process table: also what has
// a session of its own, as long as its parent lives.
func TestScanKills(t *testing.T) {
	mark := "97" + strconv.Itoa(os.Getpid()) + ".5"
	c := exec.Command("sh", "-c", "sleep "+mark+" & setsid sh -c 'sleep "+mark+" & wait' & wait")
	tr := newScan()
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	b, err := tr.branch(c.SysProcAttr)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	b.began(c.Process.Pid)
	time.Sleep(300 * time.Millisecond)
	if err := tr.remove(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = c.Wait() }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the command still runs")
	}
	table, err := processes()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range table {
		if cmd, _ := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/cmdline"); slices.Contains(splitNul(cmd), mark) && p.parent != 1 {
			t.Errorf("process %d of the tree is left", p.pid)
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		} else if slices.Contains(splitNul(cmd), mark) {
			_ = syscall.Kill(p.pid, syscall.SIGKILL) // orphaned in its own session: what this way cannot find
		}
	}
}

func splitNul(b []byte) []string {
	var out []string
	start := 0
	for i, c := range b {
		if c == 0 {
			out = append(out, string(b[start:i]))
			start = i + 1
		}
	}
	return out
}
