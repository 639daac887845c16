//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/penstock-dev/penstock/internal/host/exec"
	"github.com/penstock-dev/penstock/internal/host/exec/process"
	"github.com/penstock-dev/penstock/internal/host/exec/sandbox"
)

// sandboxes measures an empty session and a shell that does nothing in it,
// beside the same without isolation. bench/sandbox says where the time goes.
func sandboxes(ctx context.Context, p *platform, r *report) (err error) {
	rt, err := sandbox.New(sandbox.Options{Dir: filepath.Join(p.dir, "sandboxes")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rt.Close()) }()
	n := max(5, p.rounds*2)
	plainSession, plainCommand, err := sessionTimes(ctx, process.New(nil), p.dir, n)
	if err != nil {
		return err
	}
	cold, _, err := sessionTimes(ctx, rt, p.dir, n)
	if err != nil {
		return err
	}
	// What a job pays: its runner has a sandbox open before there is a job.
	session, command, err := sessionTimes(ctx, warmed{rt}, p.dir, n)
	if err != nil {
		return err
	}
	r.add("process: empty session", "s", plainSession, "no isolation")
	r.add("sandbox: empty session", "s", session, "open from a spare, and close: what it adds to a job")
	r.add("sandbox: empty session, no spare", "s", cold, "a second job at the same moment")
	r.add("process: sh -c :", "s", plainCommand, "")
	r.add("sandbox: sh -c :", "s", command, "")
	return nil
}

// warmed opens sessions from spares.
type warmed struct{ *sandbox.Runtime }

func sessionTimes(ctx context.Context, rt exec.Runtime, dir string, n int) (session, command []float64, err error) {
	for i := range n + 1 {
		work, err := os.MkdirTemp(dir, "work")
		if err != nil {
			return nil, nil, err
		}
		if w, ok := rt.(warmed); ok {
			if err := w.Warm(ctx); err != nil {
				return nil, nil, err
			}
		}
		began := time.Now()
		s, err := rt.Open(ctx, exec.SessionSpec{ID: fmt.Sprintf("bench-cluster-%d-%d", os.Getpid(), i), Workspace: work})
		if err != nil {
			return nil, nil, err
		}
		opened := time.Since(began)
		began = time.Now()
		code, err := s.Run(ctx, exec.Command{Args: []string{"sh", "-c", ":"}, Env: s.Env()})
		ran := time.Since(began)
		began = time.Now()
		if err = errors.Join(err, s.Close()); err != nil || code != 0 {
			return nil, nil, fmt.Errorf("run sh in a %s: exit code %d: %w", rt.Name(), code, err)
		}
		if i > 0 { // the first one warms up
			session = append(session, (opened + time.Since(began)).Seconds())
			command = append(command, ran.Seconds())
		}
	}
	return session, command, nil
}
