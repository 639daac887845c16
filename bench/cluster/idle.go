//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// idle measures memory and processor time while nothing happens.
func idle(ctx context.Context, p *platform, r *report) error {
	if err := p.ensureUp(ctx); err != nil {
		return err
	}
	// What the measurements before left behind is over by then.
	if err := wait(ctx, 15*time.Second); err != nil {
		return err
	}
	before, err := p.processes()
	if err != nil {
		return err
	}
	began := time.Now()
	profile := p.profileNode(ctx, r, "idle", min(p.idle, 30*time.Second))
	if err := wait(ctx, p.idle); err != nil {
		return err
	}
	profile()
	after, err := p.processes()
	if err != nil {
		return err
	}
	window := time.Since(began)
	perKind := map[string]*usage{}
	var cpu time.Duration
	for pid, a := range after {
		k := perKind[a.kind]
		if k == nil {
			k = &usage{kind: a.kind}
			perKind[a.kind] = k
		}
		used := a.cpu - before[pid].cpu // all of it for one that is new
		cpu += used
		k.cpu += used
		k.rss += a.rss
		k.pss += a.pss
		k.count++
	}
	var text bytes.Buffer
	var rss, pss, nodeRSS float64
	kinds := make([]*usage, 0, len(perKind))
	for _, k := range perKind {
		kinds = append(kinds, k)
	}
	slices.SortFunc(kinds, func(a, b *usage) int { return b.rss - a.rss })
	fmt.Fprintf(&text, "%-24s %5s %9s %9s %8s\n", "process", "count", "RSS MB", "PSS MB", "CPU %")
	for _, k := range kinds {
		rss += mb(k.rss)
		pss += mb(k.pss)
		if k.kind == "penstock-node" {
			nodeRSS = mb(k.rss)
		}
		fmt.Fprintf(&text, "%-24s %5d %9.1f %9.1f %8.2f\n", k.kind, k.count, mb(k.rss), mb(k.pss), k.cpu.Seconds()/window.Seconds()*100)
	}
	r.add("memory: all processes", "MB RSS", []float64{rss}, fmt.Sprintf("%.0f MB PSS (shared pages counted once)", pss))
	r.add("memory: penstock-node", "MB RSS", []float64{nodeRSS}, "")
	r.add("idle: processor", "% of a core", []float64{cpu.Seconds() / window.Seconds() * 100}, "over "+window.Round(time.Second).String())
	r.where("Idle: who uses memory and processor", text.String())
	return nil
}

func mb(kb int) float64 { return float64(kb) * 1024 / 1e6 }

type usage struct {
	kind     string
	cpu      time.Duration
	rss, pss int // kB
	count    int
}

// processes finds everything of the platform: our programs, containerd and its
// shims. They all name the data directory on their command lines. What runs in
// Pods is the user's.
func (p *platform) processes() (map[int]usage, error) {
	all, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	out := map[int]usage{}
	for _, d := range all {
		pid, err := strconv.Atoi(d.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		cmd, err := os.ReadFile(filepath.Join("/proc", d.Name(), "cmdline"))
		if err != nil || !bytes.Contains(cmd, []byte(p.dir)) {
			continue
		}
		u, err := processUsage(pid, strings.Split(string(cmd), "\x00"))
		if err != nil {
			continue // it ended meanwhile
		}
		out[pid] = u
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no process has %s on its command line", p.dir)
	}
	return out, nil
}

func processUsage(pid int, cmd []string) (usage, error) {
	u := usage{kind: filepath.Base(cmd[0]), count: 1}
	if u.kind == "penstock" && len(cmd) > 1 {
		u.kind += " " + cmd[1]
	}
	dir := fmt.Sprintf("/proc/%d/", pid)
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return u, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return u, fmt.Errorf("read %sstat: too short", dir)
	}
	user, _ := strconv.Atoi(f[11])
	sys, _ := strconv.Atoi(f[12])
	u.cpu = time.Duration(user+sys) * 10 * time.Millisecond
	rollup, err := os.ReadFile(dir + "smaps_rollup")
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(rollup)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "Rss:":
			u.rss, err = strconv.Atoi(f[1])
		case "Pss:":
			u.pss, err = strconv.Atoi(f[1])
		}
		if err != nil {
			return u, err
		}
	}
	return u, nil
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
