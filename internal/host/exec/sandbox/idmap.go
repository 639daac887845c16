//go:build linux

package sandbox

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// idCount is how many user and group ids a sandbox has.
const idCount = 1 << 16

// nobody is the id that the kernel shows for what it cannot map.
const nobody = idCount - 2

// idmap says which id of a file system appears as which id in the kernel: a
// mount under this map shows a file of user ContainerID as one of user HostID.
type idmap struct {
	uids, gids []syscall.SysProcIDMap
}

// rootMap is the map for the machine's own file systems, seen by a sandbox
// whose root is base on the host. Every group is mapped, but of the users only
// the ones that distributions assign statically (below 100), nobody, and those
// in also, which own what package managers write. A file of another user (a
// database's, a person's) keeps an owner that does not exist inside, so that
// the sandbox's root has no power over it and sees no more than what everybody
// may see.
func rootMap(base int, also []int) idmap {
	m := idmap{
		uids: []syscall.SysProcIDMap{
			{ContainerID: 0, HostID: base, Size: 100},
			{ContainerID: nobody, HostID: base + nobody, Size: 1},
		},
		gids: []syscall.SysProcIDMap{{ContainerID: 0, HostID: base, Size: idCount}},
	}
	for _, id := range also {
		if id >= 100 && id < nobody {
			m.uids = append(m.uids, syscall.SysProcIDMap{ContainerID: id, HostID: base + id, Size: 1})
		}
	}
	return m
}

// ownerMap is the map for the workspace and other mounts: what uid and gid own
// outside belongs to the session's user inside, and the other way round.
func ownerMap(base, uid, gid int, user user) idmap {
	return idmap{uids: swap(base, uid, user.uid), gids: swap(base, gid, user.gid)}
}

// swap maps the ids in their order, with id and as exchanged. An id beyond the
// sandbox's range only takes the place of as.
func swap(base, id, as int) []syscall.SysProcIDMap {
	m := []syscall.SysProcIDMap{{ContainerID: id, HostID: base + as, Size: 1}}
	next := 0 // the first id that is not mapped yet
	for _, n := range []int{min(id, as), max(id, as)} {
		n = min(n, idCount)
		if n > next {
			m = append(m, syscall.SysProcIDMap{ContainerID: next, HostID: base + next, Size: n - next})
		}
		next = max(next, n+1)
	}
	if next < idCount {
		m = append(m, syscall.SysProcIDMap{ContainerID: next, HostID: base + next, Size: idCount - next})
	}
	if id != as && id < idCount {
		m = append(m, syscall.SysProcIDMap{ContainerID: as, HostID: base + id, Size: 1})
	}
	return m
}

// user is who commands of a session run as, in the session's own ids.
type user struct {
	uid, gid int
	groups   []uint32
}

func (m idmap) key() string { return fmt.Sprint(m.uids, m.gids) }

// idmaps keeps user namespaces, which is how the kernel is told a map.
type idmaps struct {
	mu   sync.Mutex
	open map[string]*os.File
}

func (s *idmaps) get(m idmap) (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.open[m.key()]; f != nil {
		return f, nil
	}
	f, err := newUserNamespace(m)
	if err != nil {
		return nil, fmt.Errorf("make user namespace: %w", err)
	}
	if s.open == nil {
		s.open = map[string]*os.File{}
	}
	s.open[m.key()] = f
	return f, nil
}

func (s *idmaps) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.open {
		f.Close()
	}
	s.open = nil
}

// newUserNamespace makes a user namespace with the map. Only a process can
// make one: ours is stopped at its first instruction and never runs.
func newUserNamespace(m idmap) (*os.File, error) {
	runtime.LockOSThread() // a traced process belongs to the thread that made it
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{"penstock-idmap"}
	cmd.Env = []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: slices.Clone(m.uids),
		GidMappings: slices.Clone(m.gids),
		Ptrace:      true,
		Pdeathsig:   syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", cmd.Process.Pid))
	killErr := cmd.Process.Kill()
	_ = cmd.Wait() // "signal: killed" is what we asked for
	if err != nil {
		return nil, err
	}
	if killErr != nil {
		f.Close()
		return nil, killErr
	}
	return f, nil
}

// detached returns a private clone of the mount at path (without the mounts
// below it), with its ids mapped unless userns is nil, not yet attached
// anywhere.
func detached(path string, userns *os.File, attrs uint64) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("clone mount %s: %w", path, err)
	}
	attr := unix.MountAttr{Attr_set: attrs, Propagation: unix.MS_PRIVATE}
	if userns != nil {
		attr.Attr_set |= unix.MOUNT_ATTR_IDMAP
		attr.Userns_fd = uint64(userns.Fd())
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("map ids of mount %s: %w", path, err)
	}
	return fd, nil
}

// attach puts a detached mount at the directory or file that target is open on.
func attach(fd, target int) error {
	return unix.MoveMount(fd, "", target, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}
