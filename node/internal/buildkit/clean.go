//go:build linux

package buildkit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Clean removes what a killed server left on this machine: containers,
// mounts, network and control groups. The cache stays. It refuses while a
// server runs on the same root.
func Clean(ctx context.Context, o Options) error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	if _, err := os.Stat(o.Root); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	unlock, err := lock(filepath.Join(o.Root, "lock"))
	if err != nil {
		return err
	}
	defer unlock()
	return clean(ctx, o)
}

// clean goes from the inside out: processes hold mounts and namespaces.
func clean(ctx context.Context, o Options) error {
	return errors.Join(
		cleanContainers(ctx, o),
		cleanCgroups(ctx, o),
		cleanMounts(o.Root),
		cleanNetns(o),
		cleanBridge(ctx, o),
	)
}

// cleanBridge removes the bridge and the packet filter rules for it, unless
// they belong to the builder of another directory.
func cleanBridge(ctx context.Context, o Options) error {
	br, err := findBridge(o)
	if err != nil {
		return err
	}
	if br != nil {
		err = removeBridge(br)
	}
	return errors.Join(err, removeRules(ctx, o))
}

// cleanContainers ends the containers of RUN steps. Each has a directory of
// its name under the executor's root for as long as it lives.
func cleanContainers(ctx context.Context, o Options) error {
	bundles, err := filepath.Glob(filepath.Join(executorRoot(o, "*"), "*", "config.json"))
	if err != nil {
		return fmt.Errorf("list containers of build steps: %w", err)
	}
	var errs []error
	for _, b := range bundles {
		dir := filepath.Dir(b)
		id := filepath.Base(dir)
		// --force makes it no error when the container is not there.
		if out, err := exec.CommandContext(ctx, o.Runc, "delete", "--force", id).CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("remove container %s of a build step: %w: %s", id, err, strings.TrimSpace(string(out))))
		}
		rootfs := filepath.Join(dir, "rootfs")
		if err := unix.Unmount(rootfs, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", rootfs, err))
			continue // removing it would remove what is mounted there
		}
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

// cleanMounts unmounts everything below root, and BuildKit's mounts under the
// directory for temporary files that show something of root.
func cleanMounts(root string) error {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	defer f.Close()
	points, err := leftMounts(f, root)
	if err != nil {
		return err
	}
	var errs []error
	for i := len(points) - 1; i >= 0; i-- { // the last mounted first
		if err := unix.Unmount(points[i], unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", points[i], err))
			continue
		}
		if temporary(points[i]) {
			_ = os.Remove(points[i]) // only ever an empty directory of ours
		}
	}
	return errors.Join(errs...)
}

// leftMounts reads mountinfo and returns the mount points that belong to a
// builder on root, in the order in which they were mounted.
func leftMounts(mountinfo io.Reader, root string) ([]string, error) {
	var points []string
	sc := bufio.NewScanner(mountinfo)
	sc.Buffer(nil, 1<<20) // an overlay of many layers has a long line
	for sc.Scan() {
		before, after, ok := strings.Cut(sc.Text(), " - ")
		f := strings.Fields(before)
		if !ok || len(f) < 5 {
			continue
		}
		shown, point := unescape(f[3]), unescape(f[4])
		below := strings.HasPrefix(point, root+"/")
		ours := strings.HasPrefix(shown, root+"/") || strings.Contains(unescape(after), root+"/")
		if below || temporary(point) && ours {
			points = append(points, point)
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	return points, nil
}

// temporary says whether point looks like a mount that BuildKit or containerd
// make for a moment.
func temporary(point string) bool {
	name := filepath.Base(point)
	return strings.HasPrefix(name, "buildkit-mount") || strings.HasPrefix(name, "containerd-mount")
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

func cleanNetns(o Options) error {
	pins, err := os.ReadDir(netnsDir(o))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("list build networks: %w", err)
	}
	var errs []error
	for _, p := range pins {
		errs = append(errs, unpinNetns(filepath.Join(netnsDir(o), p.Name())))
	}
	return errors.Join(errs...)
}
