package proc

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func sleeper(t *testing.T, script string) (Process, *exec.Cmd) {
	t.Helper()
	c := exec.Command("/bin/sh", "-c", script)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	p, err := Of(c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return p, c
}

func TestSaveAndLoad(t *testing.T) {
	f := filepath.Join(t.TempDir(), "pid")
	if _, ok := Load(f); ok {
		t.Error("a file that is not there names a process")
	}
	p, c := sleeper(t, "sleep 60")
	if err := p.Save(f); err != nil {
		t.Fatal(err)
	}
	if got, ok := Load(f); !ok || got != p {
		t.Errorf("got %v %t, want %v", got, ok, p)
	}
	// Another process with the same pid is not ours.
	other := p
	other.Start++
	if other.Alive() {
		t.Error("a process that started later is taken for ours")
	}
	_ = c.Process.Kill()
	if err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, ok := Load(f); ok { // a zombie by now, or gone
		t.Error("a dead process is alive")
	}
	for _, bad := range []string{"", "123", `{"pid":1,"start":1}`, `{"pid":-5}`, "\x00"} {
		if err := os.WriteFile(f, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if p, ok := Load(f); ok {
			t.Errorf("%q names %v", bad, p)
		}
	}
}

func TestEnd(t *testing.T) {
	polite, c1 := sleeper(t, "exec sleep 60")
	go func() { _ = c1.Wait() }()
	if err := polite.End(t.Context(), 10*time.Second); err != nil {
		t.Error(err)
	}
	stubborn, c2 := sleeper(t, "trap '' TERM; while :; do sleep 0.1; done")
	go func() { _ = c2.Wait() }()
	time.Sleep(100 * time.Millisecond) // let it set its trap
	if err := stubborn.End(t.Context(), 200*time.Millisecond); err != nil {
		t.Error(err)
	}
	if polite.Alive() || stubborn.Alive() {
		t.Error("still alive")
	}
	if err := polite.End(t.Context(), time.Second); err != nil {
		t.Errorf("one that has ended: %v", err)
	}
}

func TestWaitIsCancelled(t *testing.T) {
	p, _ := sleeper(t, "sleep 60")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestWith(t *testing.T) {
	p, _ := sleeper(t, "exec sleep 61.25")
	found, err := With(func(args []string) bool { return len(args) == 2 && args[1] == "61.25" })
	if err != nil || len(found) != 1 || found[0] != p {
		t.Errorf("found %v, %v; want %v", found, err, p)
	}
}
