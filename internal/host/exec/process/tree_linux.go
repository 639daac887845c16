package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/penstock-dev/penstock/internal/host/exec/cgtree"
)

// removeTimeout bounds how long killed processes may take to go.
const removeTimeout = 30 * time.Second

// sessions numbers the groups of this process, so that two sessions under one
// id, of two runtimes, do not share one.
var sessions atomic.Uint64

// newTree uses a control group below our own where that is allowed.
func newTree(id string) (tree, error) {
	own, err := cgtree.Own()
	if err != nil {
		return newScan(), nil //nolint:nilerr // no control groups: the other way
	}
	name := fmt.Sprintf("penstock-%s-%d-%d", id, os.Getpid(), sessions.Add(1))
	g, err := cgtree.Make(own, name)
	if errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return newScan(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("make control group: %w", err)
	}
	return &groups{g: g}, nil
}

// groups is a control group with one below it for each command.
type groups struct {
	g    cgtree.Group
	next atomic.Uint64
}

func (t *groups) branch(attr *syscall.SysProcAttr) (branch, error) {
	g, err := cgtree.Make(string(t.g), "cmd-"+strconv.FormatUint(t.next.Add(1), 10))
	if err != nil {
		return nil, fmt.Errorf("make control group: %w", err)
	}
	dir, err := g.Open()
	if err != nil {
		return nil, fmt.Errorf("open control group: %w", err)
	}
	attr.UseCgroupFD = true
	attr.CgroupFD = int(dir.Fd())
	return &group{g: g, dir: dir}, nil
}

func (t *groups) remove() error {
	ctx, cancel := context.WithTimeout(context.Background(), removeTimeout)
	defer cancel()
	return t.g.Remove(ctx)
}

type group struct {
	g   cgtree.Group
	dir *os.File
}

func (b *group) began(int)   { b.dir.Close() }
func (b *group) look()       {}
func (b *group) kill() error { return b.g.Kill() }

// tidy removes the group if the command left nothing running.
func (b *group) tidy() {
	b.dir.Close()              // again, should the start have failed
	_ = os.Remove(string(b.g)) // else it goes with the session's
}
