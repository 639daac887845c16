// Package containerd starts the machine's containerd with a configuration,
// state and socket of its own, watches it and starts it again when it ends. It
// runs in its own session and outlives this process; the next one adopts it.
package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	client "github.com/containerd/containerd/v2/client"

	"github.com/penstock-dev/penstock/node/internal/fault"
	"github.com/penstock-dev/penstock/node/internal/layout"
	"github.com/penstock-dev/penstock/node/internal/proc"
)

// Options say how containerd runs.
type Options struct {
	Binary  string
	Params  Params
	Dir     string // for the configuration file
	PIDFile string
	LogFile string
	Log     *slog.Logger
}

const (
	startLimit = 20 * time.Second
	// maxRestarts in a row, each less than stable after the last, end the node.
	maxRestarts = 8
	stable      = 30 * time.Second
	maxLog      = 8 << 20
)

// Run keeps containerd running until ctx is done. It then leaves it running:
// Stop ends it.
func Run(ctx context.Context, o Options, ready func()) error {
	conf := filepath.Join(o.Dir, "config.toml")
	text := Config(o.Params)
	old, _ := os.ReadFile(conf)
	if string(old) != text {
		if err := layout.WriteFile(conf, []byte(text), 0o600); err != nil {
			return fmt.Errorf("write the configuration: %w", err)
		}
	}
	p, adopted := proc.Load(o.PIDFile)
	if adopted && string(old) != text {
		// Its containers live on in their shims while it is replaced.
		o.Log.Info("containerd is started again with a new configuration", "pid", p.PID)
		if err := p.End(ctx, 10*time.Second); err != nil {
			return fmt.Errorf("end the old containerd: %w", err)
		}
		adopted = false
	}
	for restarts := 0; ; {
		began := time.Now()
		if !adopted {
			var err error
			if p, err = start(o, conf); err != nil {
				return err
			}
		}
		err := serve(ctx, o, p, ready)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was told to stop watching; containerd runs on
		}
		if time.Since(began) > stable {
			restarts = 0
		}
		if restarts++; restarts > maxRestarts {
			return &fault.Error{Op: "run containerd", Err: fmt.Errorf("ended %d times in a row: %w; its last words: %s", restarts, err, tail(o.LogFile)), Hint: "see " + o.LogFile}
		}
		o.Log.Warn("containerd ended and is started again", "pid", p.PID, "error", err)
		adopted = false
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Duration(restarts-1) * 200 * time.Millisecond):
		}
	}
}

// serve waits until p answers, then until it ends.
func serve(ctx context.Context, o Options, p proc.Process, ready func()) error {
	ended, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	gone := make(chan error, 1)
	go func() {
		gone <- p.Wait(ended)
	}()
	soon, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for !answers(soon, o.Params.Socket) {
		select {
		case <-gone:
			return errors.New("ended while starting: " + tail(o.LogFile))
		case <-soon.Done():
			if ctx.Err() == nil {
				// It hangs: only a new one helps.
				_ = p.End(ctx, time.Second)
				return fmt.Errorf("did not answer within %s", startLimit)
			}
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	ready()
	bound := time.NewTicker(time.Minute)
	defer bound.Stop()
	for {
		select {
		case err := <-gone:
			if err == nil {
				err = errors.New("process ended")
			}
			return err
		case <-bound.C:
			if err := rotate(o.LogFile); err != nil {
				o.Log.Warn("the log of containerd could not be shortened", "error", err)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// answers says whether containerd serves: its CRI plugin is the last to load.
func answers(ctx context.Context, socket string) bool {
	if _, err := os.Stat(socket); err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return cri(ctx, socket) == nil
}

func start(o Options, conf string) (proc.Process, error) {
	if err := rotate(o.LogFile); err != nil {
		return proc.Process{}, fmt.Errorf("shorten the log: %w", err)
	}
	f, err := os.OpenFile(o.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return proc.Process{}, fmt.Errorf("open the log: %w", err)
	}
	defer f.Close()
	c := exec.Command(o.Binary, "--config", conf)
	c.Stdout, c.Stderr = f, f
	c.Dir = "/"
	// A session of its own: no terminal and no supervisor that signals our
	// process group ends the containers.
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// /usr/sbin has what it runs; PATH may lack it.
	c.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	if err := c.Start(); err != nil {
		return proc.Process{}, fmt.Errorf("start %s: %w", o.Binary, err)
	}
	p, err := proc.Of(c.Process.Pid)
	if err == nil {
		err = p.Save(o.PIDFile)
	}
	// Its end is noticed through a pidfd, the same as that of an adopted one;
	// this only takes the exit status from the kernel.
	go func() { _ = c.Wait() }()
	if err != nil {
		_ = c.Process.Kill()
		return p, fmt.Errorf("write the pid file: %w", err)
	}
	return p, nil
}

// Stop ends the containerd that pidFile names.
func Stop(ctx context.Context, pidFile string) error {
	p, ok := proc.Load(pidFile)
	if ok {
		if err := p.End(ctx, 10*time.Second); err != nil {
			return fmt.Errorf("end containerd: %w", err)
		}
	}
	if err := os.Remove(pidFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Client connects to containerd in the namespace of the CRI.
func Client(socket string) (*client.Client, error) {
	c, err := client.New(socket, client.WithDefaultNamespace(Namespace), client.WithTimeout(5*time.Second))
	if err != nil {
		return nil, fmt.Errorf("connect to containerd: %w", err)
	}
	return c, nil
}

// Namespace is where the CRI plugin keeps images and containers.
const Namespace = "k8s.io"

// rotate keeps a log bounded: its second half is kept when it grows too long.
// containerd appends, so the file is shortened in place.
func rotate(path string) error {
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || st.Size() < maxLog {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	keep := make([]byte, maxLog/2)
	n, err := f.ReadAt(keep, st.Size()-int64(len(keep)))
	if err != nil && n < len(keep) {
		return err
	}
	if i := strings.IndexByte(string(keep), '\n'); i >= 0 {
		keep = keep[i+1:]
	}
	if err := layout.WriteFile(path+".1", keep, 0o600); err != nil {
		return err
	}
	return f.Truncate(0)
}

// tail returns the last line of a log.
func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "none"
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
}
