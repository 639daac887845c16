//go:build unix

package process

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"syscall"
	"time"
)

// scan finds processes without control groups: by parent, process group and
// session, in the system's process table.
type scan struct {
	mu       sync.Mutex
	branches []*lineage
}

func newScan() *scan { return &scan{} }

func (t *scan) branch(*syscall.SysProcAttr) (branch, error) {
	b := &lineage{}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.branches = append(t.branches, b)
	return b, nil
}

func (t *scan) remove() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	for _, b := range t.branches {
		errs = append(errs, b.kill())
	}
	t.branches = nil
	return errors.Join(errs...)
}

// lineage is a command, which leads a session, and all that descend from it.
type lineage struct {
	mu    sync.Mutex
	root  int
	known map[int]string // descendants seen so far, with the time of their start
}

func (b *lineage) began(pid int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.root = pid
}

func (b *lineage) tidy() {}

// look remembers the descendants there are: once its parent is gone, one with
// a session of its own cannot be found any more.
func (b *lineage) look() {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, _ = b.update() // kill looks again, and reports
}

// update reads the process table and returns the descendants that are new.
func (b *lineage) update() ([]int, error) {
	if b.root == 0 {
		return nil, nil
	}
	table, err := processes()
	if err != nil {
		return nil, fmt.Errorf("read process table: %w", err)
	}
	start := map[int]string{}
	for _, p := range table {
		start[p.pid] = p.start
	}
	for pid, s := range b.known {
		if start[pid] != s {
			delete(b.known, pid) // gone, and the number may be another's
		}
	}
	fresh := descendants(table, b.root, b.known)
	if b.known == nil {
		b.known = map[int]string{}
	}
	for _, pid := range fresh {
		b.known[pid] = start[pid]
	}
	return fresh, nil
}

// kill stops what it finds before it looks again, so that nothing multiplies
// meanwhile, kills when there is nothing new, and waits for the ends.
func (b *lineage) kill() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, err := b.update(); err != nil {
		return err
	}
	stop := slices.Collect(maps.Keys(b.known))
	for end := time.Now().Add(5 * time.Second); len(stop) > 0 && time.Now().Before(end); {
		for _, pid := range stop {
			_ = syscall.Kill(pid, syscall.SIGSTOP) // gone already is fine
		}
		var err error
		if stop, err = b.update(); err != nil {
			return err
		}
	}
	for pid := range b.known {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		if _, err := b.update(); err != nil || len(b.known) == 0 {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d processes are still there after SIGKILL", len(b.known))
		}
	}
}

// proc is one line of the process table.
type proc struct {
	pid, parent, group, session int
	start                       string // tells processes with one number apart
}

// descendants lists processes that are not known yet and are in root's
// session or group, or have a parent among these or the known ones.
func descendants(table []proc, root int, known map[int]string) []int {
	in := map[int]bool{}
	for pid := range known {
		in[pid] = true
	}
	var out []int
	for grew := true; grew; {
		grew = false
		for _, p := range table {
			if in[p.pid] {
				continue
			}
			if p.pid == root || p.session == root || p.group == root || in[p.parent] {
				in[p.pid] = true
				out = append(out, p.pid)
				grew = true
			}
		}
	}
	return out
}
