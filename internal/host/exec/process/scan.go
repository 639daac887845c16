//go:build unix

package process

import (
	"errors"
	"fmt"
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
	mu   sync.Mutex
	root int
}

func (b *lineage) began(pid int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.root = pid
}

func (b *lineage) tidy() {}

// kill stops what it finds before it looks again, so that nothing multiplies
// meanwhile, and kills when there is nothing new.
func (b *lineage) kill() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.root == 0 {
		return nil
	}
	found := map[int]bool{}
	for end := time.Now().Add(5 * time.Second); ; {
		table, err := processes()
		if err != nil {
			return fmt.Errorf("read process table: %w", err)
		}
		fresh := descendants(table, b.root, found)
		if len(fresh) == 0 || time.Now().After(end) {
			break
		}
		for _, pid := range fresh {
			found[pid] = true
			_ = syscall.Kill(pid, syscall.SIGSTOP) // gone already is fine
		}
	}
	for pid := range found {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	return nil
}

// proc is one line of the process table.
type proc struct{ pid, parent, group, session int }

// descendants lists processes that are not known yet and are in root's
// session or group, or have a parent among these or the known ones.
func descendants(table []proc, root int, known map[int]bool) []int {
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
