package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/penstock-dev/penstock/node/internal/buildkit"
	"github.com/penstock-dev/penstock/node/internal/containerd"
	"github.com/penstock-dev/penstock/node/internal/host"
	"github.com/penstock-dev/penstock/node/internal/layout"
	"github.com/penstock-dev/penstock/node/internal/network"
	"github.com/penstock-dev/penstock/node/internal/proc"
	"github.com/penstock-dev/penstock/node/internal/proxy"
)

// grace is how long containers have to end when the node stops; a Pod's own
// period may be shorter.
const grace = 10 * time.Second

// Stop takes away everything of a node that no longer runs: containers,
// containerd, mounts, interfaces, packet filter rules, cgroups. The data stays;
// wipe removes it too. What is already gone is no error, so it can be repeated
// after it was interrupted.
func Stop(ctx context.Context, c Config, wipe bool) error {
	dir, err := layout.Open(c.DataDir)
	if err != nil {
		return err
	}
	if _, err := os.Stat(string(dir)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	wait, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	lock, err := dir.Acquire(wait)
	if err != nil {
		return err
	}
	defer lock.Release()
	if c, err = c.saved(dir); err != nil {
		return err
	}
	s := &stopper{dir: dir, log: c.Log}
	if os.Geteuid() == 0 {
		n := &node{Config: c, dir: dir}
		s.step("containers", func() error { return s.containers(ctx) })
		s.step("containerd", func() error { return containerd.Stop(ctx, dir.ContainerdPID()) })
		s.step("shims", func() error { return s.shims(ctx) })
		s.step("processes", func() error { return s.processes() })
		s.step("builder", func() error { return n.cleanBuilder(ctx) })
		s.step("mounts", s.mounts)
		s.step("network", func() error { return s.network(ctx, c, n.owner()) })
		s.step("cgroups", func() error { return host.RemoveCgroup(dir.CgroupRoot()) })
	}
	s.step("sockets", s.sockets)
	if wipe && s.err == nil {
		s.step("data", s.wipe)
	}
	return s.err
}

type stopper struct {
	dir layout.Dir
	log *slog.Logger
	err error
}

// step goes on after an error: the rest should not stay because of it.
func (s *stopper) step(name string, f func() error) {
	began := time.Now()
	err := f()
	if err != nil {
		s.err = errors.Join(s.err, fmt.Errorf("stop %s: %w", name, err))
	}
	s.log.Debug("stopped", "what", name, "took", time.Since(began).Round(time.Millisecond), "error", err)
}

// containers asks the runtime to end all Pods in order, if it runs.
func (s *stopper) containers(ctx context.Context) error {
	if _, ok := proc.Load(s.dir.ContainerdPID()); !ok {
		return nil // their processes are found by their cgroup below
	}
	ctx, cancel := context.WithTimeout(ctx, grace+20*time.Second)
	defer cancel()
	cri, err := containerd.DialCRI(s.dir.ContainerdSocket())
	if err != nil {
		return err
	}
	defer cri.Close()
	list, err := cri.ListContainers(ctx, &runtime.ListContainersRequest{Filter: &runtime.ContainerFilter{
		State: &runtime.ContainerStateValue{State: runtime.ContainerState_CONTAINER_RUNNING}}})
	if err != nil {
		// It hangs or is going away; what it started is ended without it.
		s.log.Warn("containers are ended without their grace period: containerd does not answer", "error", err)
		return nil
	}
	var wg sync.WaitGroup
	for _, c := range list.Containers {
		wg.Go(func() {
			if _, err := cri.StopContainer(ctx, &runtime.StopContainerRequest{ContainerId: c.Id, Timeout: graceOf(c.Annotations)}); err != nil {
				s.log.Warn("a container did not stop", "container", c.Id, "error", err)
			}
		})
	}
	wg.Wait()
	pods, err := cri.ListPodSandbox(ctx, &runtime.ListPodSandboxRequest{})
	if err != nil {
		return nil
	}
	for _, p := range pods.Items {
		wg.Go(func() {
			// Removing it frees its address and what containerd keeps of it.
			if _, err := cri.StopPodSandbox(ctx, &runtime.StopPodSandboxRequest{PodSandboxId: p.Id}); err != nil {
				s.log.Warn("a pod did not stop", "pod", p.Metadata.GetName(), "error", err)
				return
			}
			if _, err := cri.RemovePodSandbox(ctx, &runtime.RemovePodSandboxRequest{PodSandboxId: p.Id}); err != nil {
				s.log.Warn("a pod was not removed", "pod", p.Metadata.GetName(), "error", err)
			}
		})
	}
	wg.Wait()
	return nil
}

// graceOf is the container's grace period, at most ours. The kubelet writes it
// into an annotation.
func graceOf(annotations map[string]string) int64 {
	limit := int64(grace / time.Second)
	var n int64
	if _, err := fmt.Sscan(annotations["io.kubernetes.pod.terminationGracePeriod"], &n); err != nil || n > limit || n < 0 {
		return limit
	}
	return n
}

// shims ends the parents of containers that serve our containerd.
func (s *stopper) shims(ctx context.Context) error {
	list, err := proc.With(func(args []string) bool { return isShim(args, s.dir.ContainerdSocket()) })
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range list {
		errs = append(errs, p.End(ctx, 100*time.Millisecond))
	}
	return errors.Join(errs...)
}

func isShim(args []string, socket string) bool {
	if !strings.HasPrefix(filepath.Base(args[0]), "containerd-shim") {
		return false
	}
	i := slices.Index(args, "-address")
	return i >= 0 && i+1 < len(args) && args[i+1] == socket
}

// processes kills what is left in the Pods' cgroups.
func (s *stopper) processes() error {
	for range 50 {
		pids, err := host.CgroupProcesses(s.dir.CgroupRoot())
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("kill %d: %w", pid, err)
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.New("processes in the pods' cgroups do not end")
}

// mounts unmounts everything below the directory, the innermost first.
func (s *stopper) mounts() error {
	for range 5 {
		b, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			return err
		}
		list := mountsBelow(string(b), string(s.dir))
		if len(list) == 0 {
			return nil
		}
		for _, m := range list {
			if err := unix.Unmount(m, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("unmount %s: %w", m, err)
			}
		}
	}
	return errors.New("mounts come back")
}

// mountsBelow returns the mount points below dir in the text of mountinfo, the
// last mounted first.
func mountsBelow(mountinfo, dir string) []string {
	var out []string
	for line := range strings.Lines(mountinfo) {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		p := unescape(f[4])
		if strings.HasPrefix(p, dir+"/") {
			out = append(out, p)
		}
	}
	slices.Reverse(out)
	return out
}

// unescape undoes the kernel's octal escapes of blanks and backslashes.
var unescaper = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

func unescape(s string) string { return unescaper.Replace(s) }

func (s *stopper) network(ctx context.Context, c Config, owner string) error {
	ours, err := network.Owned(c.Bridge, owner)
	if err != nil {
		return err
	}
	var errs []error
	if ours {
		errs = append(errs, proxy.Cleanup(ctx), network.Remove(ctx, c.Bridge))
	}
	// libcni caches results under the network's name.
	cached, err := filepath.Glob("/var/lib/cni/results/penstock-" + s.dir.ID() + "-*")
	errs = append(errs, err)
	for _, f := range cached {
		errs = append(errs, os.Remove(f))
	}
	errs = append(errs, os.RemoveAll(s.dir.Path("cni", "addresses")))
	return errors.Join(errs...)
}

// sockets removes the sockets, so that a client learns at once that nobody
// listens.
func (s *stopper) sockets() error {
	list, err := filepath.Glob(s.dir.Path("run", "*.sock*"))
	if err != nil {
		return err
	}
	for _, f := range list {
		if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// wipe removes the data. The lock stays until the process ends.
func (s *stopper) wipe() error {
	entries, err := os.ReadDir(string(s.dir))
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, os.RemoveAll(s.dir.Path(e.Name())))
	}
	return errors.Join(errs...)
}

func (n *node) cleanBuilder(ctx context.Context) error {
	if n.NoBuilder {
		return nil
	}
	o, err := n.builderOptions()
	if err != nil {
		return err
	}
	return buildkit.Clean(ctx, o)
}
