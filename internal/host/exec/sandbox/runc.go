//go:build linux

package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// runcState is runc's own directory for our containers.
func runcState(runDir string) string { return filepath.Join(runDir, "runc") }

// launch mounts the root file system in a mount namespace of its own and makes
// runc start the agent there, with control as its socket. It returns the
// agent's process id on the host.
func (r *Runtime) launch(ctx context.Context, id string, fs *rootfs, c container, control *os.File) (pid int, err error) {
	spec, err := c.spec()
	if err != nil {
		return 0, err
	}
	config, err := json.Marshal(spec)
	if err != nil {
		return 0, err
	}
	if err := os.WriteFile(filepath.Join(fs.bundle, "config.json"), config, 0o600); err != nil {
		return 0, err
	}
	pidFile := filepath.Join(fs.bundle, "pid")
	// The container keeps its standard error, so this cannot be a pipe whose
	// end we wait for.
	errFile, err := os.OpenFile(filepath.Join(fs.bundle, "stderr"), os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return 0, err
	}
	defer errFile.Close()

	runc, err := tool("runc")
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, runc, "--root", runcState(r.runDir), "run", "--detach",
		"--preserve-fds", "1", "--pid-file", pidFile, "--bundle", fs.bundle, id)
	cmd.ExtraFiles = []*os.File{control}
	cmd.Stderr = errFile
	if err := inPrivateMounts(func() error {
		if err := fs.mount(); err != nil {
			return err
		}
		return cmd.Run()
	}); err != nil {
		return 0, withText(err, errFile)
	}
	data, err := os.ReadFile(pidFile)
	if err != nil {
		return 0, withText(err, errFile)
	}
	return strconv.Atoi(strings.TrimSpace(string(data)))
}

// withText adds the end of what a program wrote to err.
func withText(err error, f *os.File) error {
	const most = 2 << 10
	if fi, e := f.Stat(); e == nil && fi.Size() > 0 {
		text := make([]byte, most)
		n, _ := f.ReadAt(text, max(0, fi.Size()-most)) // whatever there is
		if n > 0 {
			return fmt.Errorf("%w: %s", err, bytes.TrimSpace(text[:n]))
		}
	}
	return err
}

// inPrivateMounts runs f on a thread with a mount namespace of its own, a copy
// of the host's from which nothing leads back. What f starts stays in it. It
// ends with the last process in it.
func inPrivateMounts(f func() error) error {
	return onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("make mount namespace: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("make mounts private: %w", err)
		}
		return f()
	})
}

var errGone = errors.New("the sandbox is gone")

// memfile returns a file in memory that holds data.
func memfile(name string, data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(data); err != nil {
		f.Close()
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
