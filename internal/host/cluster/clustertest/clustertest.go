// Package clustertest starts a real Kubernetes control plane for tests: the
// embedded cluster without a node. Deployments become ReplicaSets and Pods
// there, and no Pod ever runs.
package clustertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/penstock-dev/penstock/internal/host/cluster"
)

// startTime bounds the start of a control plane on a busy machine.
const startTime = 2 * time.Minute

// ErrNoProgram says that penstock-node is not built here.
var ErrNoProgram = errors.New("penstock-node is not built (make build), and PENSTOCK_NODE does not name it")

// ControlPlane is a running control plane.
type ControlPlane struct {
	Kubeconfig string

	dir  string
	cmd  *exec.Cmd
	done chan error
}

// Start starts a control plane in a directory of its own. The caller stops it.
func Start() (*ControlPlane, error) {
	program, err := findProgram()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "penstock-cp-")
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "node.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	data := filepath.Join(dir, "node")
	cmd := exec.Command(program, "run", "--api-only", "--no-builder", "--apiserver-port", "0", "--data-dir", data)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &ControlPlane{Kubeconfig: filepath.Join(data, "admin.kubeconfig"), dir: dir, cmd: cmd, done: make(chan error, 1)}
	go func() { p.done <- cmd.Wait() }()
	if err := p.wait(); err != nil {
		out, _ := os.ReadFile(log.Name())
		return nil, errors.Join(fmt.Errorf("start a control plane: %w\n%s", err, lastLines(string(out), 20)), p.Stop())
	}
	return p, nil
}

// wait waits until the API server is ready and has the namespace "default".
func (p *ControlPlane) wait() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	for {
		select {
		case err := <-p.done:
			p.done <- err
			return fmt.Errorf("it ended: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
		config, err := cluster.Config(p.Kubeconfig)
		if err != nil {
			continue
		}
		c, err := cluster.New(config)
		if err != nil {
			return err
		}
		if c.WaitReady(ctx) == nil {
			return nil
		}
	}
}

// Stop ends the control plane and removes its directory.
func (p *ControlPlane) Stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-p.done:
		p.done <- err
	case <-time.After(30 * time.Second):
		_ = p.cmd.Process.Kill()
		p.done <- <-p.done
	}
	return os.RemoveAll(p.dir)
}

// findProgram returns penstock-node: named by the environment, or as make
// builds it.
func findProgram() (string, error) {
	if p := os.Getenv("PENSTOCK_NODE"); p != "" {
		return p, nil
	}
	if dir := os.Getenv("PENSTOCK_BIN"); dir != "" {
		return filepath.Join(dir, "penstock-node"), nil
	}
	_, self, _, _ := runtime.Caller(0)
	p := filepath.Join(filepath.Dir(self), "..", "..", "..", "..", "bin", "penstock-node")
	if _, err := os.Stat(p); err == nil {
		return p, nil
	}
	return "", ErrNoProgram
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(len(lines)-n, 0):], "\n")
}
