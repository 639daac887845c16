//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// startNode measures penstock-node alone: a first start in an empty directory,
// starts with the page cache dropped, and warm ones.
func startNode(ctx context.Context, p *platform, r *report) error {
	var cold, warm, cpu []float64
	fresh, _, err := p.nodeOnce(ctx)
	if err != nil {
		return err
	}
	r.add("node: first start, empty directory", "s", []float64{fresh}, "creates keys, certificates, images")
	note := ""
	for range p.rounds {
		if err := dropCaches(); err != nil {
			note = "page cache could not be dropped: " + err.Error()
		}
		d, _, err := p.nodeOnce(ctx)
		if err != nil {
			return err
		}
		cold = append(cold, d)
	}
	r.add("node: start to ready, cold disk", "s", cold, note)
	for range p.rounds {
		d, used, err := p.nodeOnce(ctx)
		if err != nil {
			return err
		}
		warm = append(warm, d)
		cpu = append(cpu, used)
	}
	r.add("node: start to ready, warm disk", "s", warm, "")
	r.add("node: processor time until ready", "CPU s", cpu, "containerd included; a busy machine changes it less")
	r.where("Start of the node: when each component was ready", p.timeline)
	// One more start for the profile, which costs time itself.
	profile := p.profileNode(ctx, r, "start", 5*time.Second)
	if _, _, err := p.nodeOnce(ctx, 6*time.Second); err != nil {
		return err
	}
	profile()
	return nil
}

// nodeOnce starts the node, waits until it is ready, leaves it running for a
// while, and stops it.
func (p *platform) nodeOnce(ctx context.Context, running ...time.Duration) (seconds, cpu float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	log, err := os.Create(filepath.Join(p.dir, "bench-node.log"))
	if err != nil {
		return 0, 0, err
	}
	defer log.Close()
	c := exec.Command(filepath.Join(p.bin, "penstock-node"), "run", "--data-dir", p.nodeDir())
	c.Stdout, c.Stderr = log, log
	began := time.Now()
	if err := c.Start(); err != nil {
		return 0, 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	ready, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-ready.Done():
		case err := <-ended:
			ended <- err
			stop() // it will never be ready
		}
	}()
	err = p.awaitReady(ready)
	seconds = time.Since(began).Seconds()
	if all, perr := p.processes(); perr == nil {
		for _, u := range all {
			cpu += u.cpu.Seconds()
		}
	}
	if err == nil {
		p.timeline, err = p.startTimeline(ctx)
	}
	for _, d := range running {
		err = errors.Join(err, wait(ctx, d))
	}
	if err != nil {
		b, _ := os.ReadFile(log.Name())
		err = fmt.Errorf("start the node: %w; it said: %s", err, tail(string(b)))
	}
	_ = c.Process.Signal(os.Interrupt)
	select {
	case <-ended:
	case <-time.After(time.Minute):
		_ = c.Process.Kill()
		err = errors.Join(err, errors.New("the node did not stop within a minute"))
	}
	return seconds, cpu, err
}

// startTimeline renders the components by the time at which they became ready.
func (p *platform) startTimeline(ctx context.Context) (string, error) {
	s, err := p.nodeStatus(ctx)
	if err != nil {
		return "", err
	}
	slices.SortFunc(s.Components, func(a, b struct {
		Name  string    `json:"name"`
		State string    `json:"state"`
		Since time.Time `json:"since"`
	}) int {
		return a.Since.Compare(b.Since)
	})
	var out bytes.Buffer
	for _, c := range s.Components {
		at := c.Since.Sub(s.StartedAt).Seconds()
		fmt.Fprintf(&out, "%6.2f s  %-24s %s\n", at, c.Name, strings.Repeat("=", min(int(at*20), 100)))
	}
	return out.String(), nil
}

// startAll measures `penstock up`.
func startAll(ctx context.Context, p *platform, r *report) error {
	once := func() (float64, error) {
		began := time.Now()
		if err := p.ensureUp(ctx); err != nil {
			return 0, err
		}
		d := time.Since(began).Seconds()
		return d, p.down(ctx)
	}
	if _, err := once(); err != nil {
		return err
	}
	var cold, warm []float64
	note := ""
	for range max(1, p.rounds/2) {
		if err := dropCaches(); err != nil {
			note = "page cache could not be dropped: " + err.Error()
		}
		d, err := once()
		if err != nil {
			return err
		}
		cold = append(cold, d)
	}
	r.add("up: everything ready, cold disk", "s", cold, note)
	for range p.rounds {
		d, err := once()
		if err != nil {
			return err
		}
		warm = append(warm, d)
	}
	r.add("up: everything ready, warm disk", "s", warm, "")
	return p.ensureUp(ctx)
}

// dropCaches makes the next start read the programs and data from the disk.
func dropCaches() error {
	if out, err := exec.Command("sync").CombinedOutput(); err != nil {
		return fmt.Errorf("sync: %w: %s", err, out)
	}
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)
}
