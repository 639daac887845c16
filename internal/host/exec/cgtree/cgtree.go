//go:build linux

// Package cgtree keeps trees of processes in control groups of version 2, used
// only to find and end processes: whatever a process starts is in its group,
// and one write ends them all, however they detached themselves. It works
// beside version 1 controllers ("hybrid") too.
package cgtree

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Root returns where the version 2 hierarchy is mounted.
func Root() (string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		left, right, _ := strings.Cut(sc.Text(), " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if len(l) >= 5 && len(r) >= 1 && r[0] == "cgroup2" {
			return l[4], nil
		}
	}
	if err := sc.Err(); err != nil {
		return "", err
	}
	return "", errors.New("no control groups of version 2 are mounted")
}

// Own returns the directory of the group that this process is in.
func Own() (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		if p, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return filepath.Join(root, p), nil
		}
	}
	return "", errors.New("this process is in no control group of version 2")
}

// Group is the directory of one group.
type Group string

// Make creates the group below dir, and dir's missing parents.
func Make(dir, name string) (Group, error) {
	g := Group(filepath.Join(dir, name))
	if err := os.MkdirAll(string(g), 0o755); err != nil {
		return "", err
	}
	return g, nil
}

// Open opens the group for starting a process in it.
func (g Group) Open() (*os.File, error) { return os.Open(string(g)) }

// Add moves a running process into the group.
func (g Group) Add(pid int) error {
	return os.WriteFile(filepath.Join(string(g), "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
}

// Chown lets uid start processes in the group.
func (g Group) Chown(uid, gid int) error {
	return os.Chown(filepath.Join(string(g), "cgroup.procs"), uid, gid)
}

// Kill ends every process in the group and below it.
func (g Group) Kill() error {
	err := os.WriteFile(filepath.Join(string(g), "cgroup.kill"), []byte("1"), 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the group is gone, and with it its processes
	}
	return err
}

// Empty says whether no process is in the group or below it.
func (g Group) Empty() (bool, error) {
	data, err := os.ReadFile(filepath.Join(string(g), "cgroup.events"))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return strings.Contains(string(data), "populated 0"), nil
}

// Remove ends what is left and removes the group and those below it.
func (g Group) Remove(ctx context.Context) error {
	if err := g.Kill(); err != nil {
		return fmt.Errorf("end processes of %s: %w", g, err)
	}
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		empty, err := g.Empty()
		if err != nil {
			return err
		}
		if empty {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("processes of %s do not end: %w", g, ctx.Err())
		case <-time.After(wait):
		}
	}
	return RemoveDirs(string(g))
}

// RemoveDirs removes the directory of an empty group and those below it.
func RemoveDirs(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && d.IsDir() {
			dirs = append(dirs, p)
		}
		return err
	})
	if err != nil {
		return err
	}
	for i := len(dirs) - 1; i >= 0; i-- {
		// A group stays busy for a moment after its last process went.
		err := os.Remove(dirs[i])
		for wait := time.Millisecond; err != nil && !errors.Is(err, fs.ErrNotExist) && wait < time.Second; wait *= 2 {
			time.Sleep(wait)
			err = os.Remove(dirs[i])
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
