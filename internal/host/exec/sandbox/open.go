//go:build linux

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/exec"
	"github.com/penstock-dev/penstock/internal/host/exec/cgtree"
	"github.com/penstock-dev/penstock/internal/host/exec/forward"
	"github.com/penstock-dev/penstock/internal/host/exec/sandbox/wire"
)

// openTimeout bounds the start of a sandbox, which takes a twentieth of a
// second where the machine is not overloaded.
const openTimeout = 60 * time.Second

var validID = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)

// Open starts a sandbox.
func (r *Runtime) Open(ctx context.Context, spec exec.SessionSpec) (exec.Session, error) {
	if spec.Image != "" {
		return nil, &problem.Error{
			Op: "open sandbox", Subject: spec.ID, Err: fmt.Errorf("%w: a sandbox has this machine's root file system, not that of an image", problem.ErrInvalid),
			Hint: "the container runtime runs images",
		}
	}
	s, err := r.openAny(ctx, spec, nil)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// openAny opens a session over root, the host's if it is nil.
func (r *Runtime) openAny(ctx context.Context, spec exec.SessionSpec, root *Root) (*session, error) {
	s, err := r.openSession(ctx, spec, root)
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, problem.ErrInvalid) && !errors.Is(err, problem.ErrExists) {
			// Perhaps the machine has never been able to.
			if reason := refuse(Check(r.o.Dir)); reason != nil {
				return nil, reason
			}
		}
		return nil, &problem.Error{Op: "open sandbox", Subject: spec.ID, Err: err, Hint: "penstock doctor"}
	}
	return s, nil
}

func (r *Runtime) openSession(ctx context.Context, spec exec.SessionSpec, root *Root) (*session, error) {
	if err := validate(spec); err != nil {
		return nil, errors.Join(err, release(root))
	}
	if root == nil {
		if s, err := r.takeOver(ctx, spec); s != nil || err != nil {
			return s, err
		}
	}
	return r.begin(ctx, spec, root)
}

// begin makes a session from nothing.
func (r *Runtime) begin(ctx context.Context, spec exec.SessionSpec, root *Root) (_ *session, err error) {
	s := &session{r: r, id: spec.ID, spec: spec, root: root, user: root.user(), log: r.log.With("session", spec.ID)}
	s.done = make(chan struct{})
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	defer func() {
		if err != nil {
			if e := s.Close(); e != nil {
				s.log.Warn("clean up after failed start", "error", e)
			}
		}
	}()
	if err := s.claim(ctx); err != nil {
		return nil, err
	}
	var p plan
	if root != nil {
		p.Layer = imageLayer(root.Dirs)
	} else if p, err = r.planned(); err != nil {
		return nil, err
	}
	fs := &rootfs{
		base: s.slot.idBase(), ids: &r.ids, extra: r.extra, layer: p.Layer, under: p.Under, root: root, user: s.user,
		scratch: s.scratch(), bundle: s.bundle(),
		mounts: mountsOf(spec),
		files:  s.files(),
	}
	s.fs, s.layer = fs, p
	defer fs.release()
	if err := fs.prepare(); err != nil {
		return nil, fmt.Errorf("prepare root file system: %w", err)
	}

	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.firewall.ensure(gctx) })
	g.Go(func() error { return s.start(gctx, fs) })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	watch, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.wg.Go(func() { r.firewall.watch(watch, s.log) })
	s.wg.Go(func() { <-s.done; stop() })
	return s, nil
}

// mountsOf lists what a session sees of the host under a name of its own.
func mountsOf(spec exec.SessionSpec) []exec.Mount {
	if spec.Workspace == "" {
		return nil // a spare
	}
	return append([]exec.Mount{{Source: spec.Workspace, Target: spec.Workspace}}, spec.Mounts...)
}

func validate(spec exec.SessionSpec) error {
	if !validID.MatchString(spec.ID) {
		return fmt.Errorf("%w: session id %q is not of the form %s", problem.ErrInvalid, spec.ID, validID)
	}
	if !filepath.IsAbs(spec.Workspace) || filepath.Clean(spec.Workspace) == "/" {
		return fmt.Errorf("%w: workspace %q is not an absolute path below the root", problem.ErrInvalid, spec.Workspace)
	}
	for _, m := range spec.Mounts {
		if !filepath.IsAbs(m.Source) || !filepath.IsAbs(m.Target) || filepath.Clean(m.Target) == "/" {
			return fmt.Errorf("%w: mount of %q at %q needs absolute paths below the root", problem.ErrInvalid, m.Source, m.Target)
		}
	}
	if spec.Network != "" && !validNetwork.MatchString(spec.Network) {
		return fmt.Errorf("%w: network %q is not of the form %s", problem.ErrInvalid, spec.Network, validNetwork)
	}
	for _, n := range spec.Names {
		if spec.Network == "" || !validName.MatchString(n) {
			return fmt.Errorf("%w: name %q needs a network and the form %s", problem.ErrInvalid, n, validName)
		}
	}
	for inside, outside := range spec.Forward {
		if err := forward.Loopback(inside); err != nil {
			return fmt.Errorf("%w: forward %s: %w", problem.ErrInvalid, inside, err)
		}
		if _, _, err := net.SplitHostPort(outside); err != nil {
			return fmt.Errorf("%w: forward to %s: %w", problem.ErrInvalid, outside, err)
		}
	}
	for name, addr := range spec.Hosts {
		if net.ParseIP(addr) == nil || name == "" || strings.ContainsAny(name, " \t\r\n#") {
			return fmt.Errorf("%w: hosts entry %q %q", problem.ErrInvalid, addr, name)
		}
	}
	return nil
}

// claim takes the session's id and its slot, removing first what a crash left
// under the id.
func (s *session) claim(ctx context.Context) error {
	err := withMachineLock(ctx, func() (err error) {
		for _, d := range []string{machineDir, s.r.runDir} {
			if err := os.MkdirAll(d, 0o711); err != nil {
				return err
			}
		}
		if s.lock, err = lockFile(s.bundle() + ".lock"); err != nil {
			return err
		}
		s.slot, err = takeSlot(slotDir)
		return err
	})
	if errors.Is(err, errLocked) {
		return fmt.Errorf("session %w", problem.ErrExists)
	}
	if err != nil {
		return err
	}
	if err := removeTraces(ctx, s.bundle(), s.scratch()); err != nil {
		return fmt.Errorf("remove what a crash left behind: %w", err)
	}
	_, err = s.lock.WriteAt([]byte(s.scratch()), 0) // for Sweep
	return err
}

func (s *session) bundle() string  { return filepath.Join(s.r.runDir, s.id) }
func (s *session) scratch() string { return filepath.Join(s.r.o.Dir, scratchPrefix+s.id) }

// scratchPrefix begins the names of the directories with what sessions write.
const scratchPrefix = "session-"

// containerName is unique on the machine, as control groups are named by it.
func containerName(runDir, id string) string { return filepath.Base(runDir) + "-" + id }

// hostname of a session: its id, which is a valid name.
func (s *session) hostname() string { return strings.Trim(s.spec.ID, "-") }

// files are the network files of the sandbox.
func (s *session) files() map[string]string {
	var hosts strings.Builder
	fmt.Fprintf(&hosts, "127.0.0.1 localhost %s\n::1 localhost\n", s.hostname())
	names := make([]string, 0, len(s.spec.Hosts))
	for n := range s.spec.Hosts {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		fmt.Fprintf(&hosts, "%s %s\n", s.spec.Hosts[n], n)
	}
	hosts.WriteString(remoteHosts(readText("/etc/hosts")))
	resolv := "nameserver 127.0.0.1\n"
	_, keep := parseResolvConf(readText("/etc/resolv.conf"))
	for _, l := range keep {
		resolv += l + "\n"
	}
	return map[string]string{"/etc/hosts": hosts.String(), "/etc/resolv.conf": resolv, "/etc/hostname": s.hostname() + "\n"}
}

// remoteHosts keeps the entries of a hosts file that name other machines: a
// mirror or a proxy that is only known there.
func remoteHosts(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		if ip := net.ParseIP(f[0]); ip == nil || ip.IsLoopback() || ip.IsMulticast() || ip.IsUnspecified() {
			continue
		}
		b.WriteString(strings.Join(f, " ") + "\n")
	}
	return b.String()
}

func readText(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return "" // the host has none, so the sandbox adds nothing from it
	}
	return string(data)
}

// start launches the agent and connects it.
func (s *session) start(ctx context.Context, fs *rootfs) error {
	cgRoot, err := cgtree.Root()
	if err != nil {
		return err
	}
	name := containerName(s.r.runDir, s.id)
	group := "/penstock-ci/" + name
	ours, theirs, err := socketpair()
	if err != nil {
		return fmt.Errorf("make control socket: %w", err)
	}
	s.control = ours
	s.pid, err = s.r.launch(ctx, name, fs, container{
		root: filepath.Join(fs.bundle, "root"), base: fs.base, hostname: s.hostname(),
		cgroup: group, cgroupV2: cgRoot == "/sys/fs/cgroup", limits: limits(s.spec.Limits, s.r.o.Limits),
	}, theirs)
	theirs.Close()
	if err != nil {
		return fmt.Errorf("start container: %w", err)
	}
	s.group, err = cgtree.Make(cgRoot, group)
	if err != nil {
		return fmt.Errorf("make control group: %w", err)
	}

	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		// runc has put it there, unless it is a version that leaves this
		// hierarchy alone beside version 1 controllers. To move it costs 10 ms.
		if !strings.Contains("\n"+readText(fmt.Sprintf("/proc/%d/cgroup", s.pid)), "\n0::"+group+"\n") {
			if err := s.group.Add(s.pid); err != nil {
				return fmt.Errorf("enter control group: %w", err)
			}
		}
		if err := s.group.Chown(fs.base, fs.base); err != nil {
			return fmt.Errorf("delegate control group: %w", err)
		}
		return nil
	})
	g.Go(s.network)
	g.Go(func() error { return s.greet(gctx) })
	return g.Wait()
}

func (s *session) network() error {
	ns, err := netns.GetFromPid(s.pid)
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	defer ns.Close()
	s.linked = true
	if err := connect(s.pid, ns, s.slot, s.r.o.Subnet); err != nil {
		return err
	}
	local := localhost
	if s.spec.Network != "" {
		if err := s.r.private.join(s, ns); err != nil {
			return err
		}
		network := s.peers
		_, keep := parseResolvConf(readText("/etc/resolv.conf"))
		search := searchDomains(keep)
		local = func(query []byte) []byte {
			if answer := localhost(query); answer != nil {
				return answer
			}
			return network.answer(query, search)
		}
	}
	s.forwards = forward.New(s.log)
	return inNetwork(ns, func() error {
		if s.spec.Workspace != "" { // not yet known of a spare
			if err := s.forward(); err != nil {
				return err
			}
		}
		pc, err := net.ListenPacket("udp4", "127.0.0.1:53")
		if err != nil {
			return fmt.Errorf("listen for name queries: %w", err)
		}
		dnsUDP(s.forwards, pc, local)
		l, err := net.Listen("tcp4", "127.0.0.1:53")
		if err != nil {
			return fmt.Errorf("listen for name queries: %w", err)
		}
		dnsTCP(s.forwards, l)
		return nil
	})
}

// forward begins to forward. It runs in the session's network.
func (s *session) forward() error {
	forwards := wayOut()
	maps.Copy(forwards, s.spec.Forward) // what is asked for comes first
	for inside, outside := range forwards {
		l, err := net.Listen("tcp", inside)
		if err != nil {
			return fmt.Errorf("forward %s: %w", inside, err)
		}
		s.forwards.TCP(l, outside)
	}
	return nil
}

// greet waits for the agent's first word, then keeps listening to it.
func (s *session) greet(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.control.Close() })
	m, files, err := wire.Receive(s.control)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	for _, f := range files {
		f.Close() // nothing is expected from inside
	}
	if err != nil {
		return fmt.Errorf("wait for the sandbox's first process: %w%s", err, s.lastWords())
	}
	if m.Op != wire.Ready {
		return fmt.Errorf("the sandbox's first process says %q, not ready", m.Op)
	}
	s.wg.Go(s.listen)
	return nil
}

// lastWords is what the agent wrote before it went.
func (s *session) lastWords() string {
	if t := strings.TrimSpace(readText(filepath.Join(s.bundle(), "stderr"))); t != "" {
		return ": " + t[:min(len(t), 1<<10)]
	}
	return ""
}

// socketpair makes the two ends of a SEQPACKET socket, ours for Go.
func socketpair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "agent")
	conn, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn.(*net.UnixConn), theirs, nil
}
