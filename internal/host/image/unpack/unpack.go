//go:build linux

// Package unpack turns the layer of an image, a tar archive from anybody, into
// a directory that overlayfs takes as a layer. Nothing outside the directory is
// ever touched: names are resolved by the kernel as if the directory were the
// root, links among them included.
package unpack

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// Limits bound what an archive may become. Small archives can say that they
// are very large.
type Limits struct {
	Bytes   int64 // content of all files
	Entries int   // files, directories, links and whiteouts
}

// DefaultLimits are above what any image of a tool chain is known to need.
var DefaultLimits = Limits{Bytes: 32 << 30, Entries: 4 << 20}

// Kernel's limits on a path and on one name in it.
const (
	maxPath   = 4095
	maxName   = 255
	maxXattrs = 64 << 10
	// maxPadding bounds what may follow an archive's end: some programs fill a
	// block of their own size.
	maxPadding = 16 << 20
)

// Result is what has been unpacked.
type Result struct {
	Bytes   int64
	Entries int
	// Implicit are the directories that the archive has something in without
	// naming them. What owner and mode they have is for the layers below to
	// say; here it is root's, 0755. Parents come first.
	Implicit []string
}

// Layer unpacks the archive into dir, an empty directory. When it fails dir
// holds an unusable part.
func Layer(ctx context.Context, archive io.Reader, dir string, limits Limits) (Result, error) {
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Result{}, fmt.Errorf("open %s: %w", dir, err)
	}
	defer unix.Close(root)
	where, err := realPath(root)
	if err != nil {
		return Result{}, err
	}
	u := &unpacker{
		root: root, where: where, limits: limits,
		made: map[string]bool{}, named: map[string]bool{}, hidden: map[string]bool{}, times: map[string]*tar.Header{},
	}
	r := tar.NewReader(archive)
	for {
		if err := ctx.Err(); err != nil {
			return Result{}, err
		}
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Result{}, fmt.Errorf("read layer: %w", err)
		}
		if err := u.entry(h, r); err != nil {
			return Result{}, fmt.Errorf("unpack %.200q: %w", h.Name, err)
		}
	}
	if err := u.finish(); err != nil {
		return Result{}, err
	}
	// What follows the end of the archive belongs to the layer's digest.
	n, err := io.Copy(io.Discard, io.LimitReader(archive, maxPadding+1))
	if err != nil {
		return Result{}, fmt.Errorf("read layer: %w", err)
	}
	if n > maxPadding {
		return Result{}, fmt.Errorf("%w: the layer goes on after its end", problem.ErrInvalid)
	}
	return u.result, nil
}

type unpacker struct {
	root   int
	where  string // the path of root
	limits Limits
	result Result
	made   map[string]bool        // directories made because something is in them
	named  map[string]bool        // directories that the archive names
	hidden map[string]bool        // what a whiteout of this layer has hidden
	times  map[string]*tar.Header // of directories, set at the end
}

func (u *unpacker) entry(h *tar.Header, r io.Reader) error {
	u.result.Entries++
	if u.result.Entries > u.limits.Entries {
		return fmt.Errorf("%w: the layer has more than %d entries", problem.ErrInvalid, u.limits.Entries)
	}
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil // remarks about the archive as a whole
	}
	p, err := clean(h.Name)
	if err != nil {
		return err
	}
	if base := path.Base(p); strings.HasPrefix(base, whiteoutPrefix) {
		return u.whiteout(path.Dir(p), base)
	}
	if p == "/" {
		if h.Typeflag != tar.TypeDir {
			return fmt.Errorf("%w: the root is not a directory", problem.ErrInvalid)
		}
		return u.attributes(u.root, ".", h)
	}
	parent, name, err := u.parent(p)
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	if p, err = u.inside(parent, name); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeDir {
		return u.directory(parent, name, p, h)
	}
	if err := u.makeWay(parent, name); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		err = u.file(parent, name, h, r)
	case tar.TypeSymlink:
		err = unix.Symlinkat(h.Linkname, parent, name)
	case tar.TypeLink:
		return u.hardLink(parent, name, h.Linkname) // with the attributes of the other
	case tar.TypeFifo:
		err = unix.Mknodat(parent, name, unix.S_IFIFO|0o600, 0)
	case tar.TypeChar, tar.TypeBlock:
		return fmt.Errorf("%w: device files are refused", problem.ErrInvalid)
	default:
		return fmt.Errorf("%w: entries of type %q are not known", problem.ErrInvalid, h.Typeflag)
	}
	if err != nil {
		return err
	}
	return u.attributes(parent, name, h)
}

// clean makes the name absolute. What it does not resolve (links among the
// directories) the kernel does, inside the directory.
func clean(name string) (string, error) {
	if len(name) > maxPath || strings.ContainsRune(name, 0) {
		return "", fmt.Errorf("%w: the name is too long, or has a zero in it", problem.ErrInvalid)
	}
	p := path.Clean("/" + name)
	for part := range strings.SplitSeq(p, "/") {
		if len(part) > maxName {
			return "", fmt.Errorf("%w: a part of the name is longer than %d", problem.ErrInvalid, maxName)
		}
	}
	return p, nil
}

// open opens p as it would be inside, without following a link at its end.
func (u *unpacker) open(p string, flags uint64) (int, error) {
	return unix.Openat2(u.root, "."+p, &unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	})
}

// parent opens the directory that p is in, making what is missing.
func (u *unpacker) parent(p string) (fd int, name string, err error) {
	dir, name := path.Split(p)
	fd, err = u.dir(path.Clean(dir))
	return fd, name, err
}

func (u *unpacker) dir(p string) (int, error) {
	fd, err := u.open(p, unix.O_PATH|unix.O_DIRECTORY)
	if !errors.Is(err, unix.ENOENT) {
		if err != nil {
			return -1, fmt.Errorf("open directory %q: %w", p, err)
		}
		return fd, nil
	}
	if p == "/" {
		return -1, err
	}
	parent, name, err := u.parent(p)
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	if err := unix.Mkdirat(parent, name, 0o755); err != nil {
		return -1, fmt.Errorf("make directory %q: %w", p, err)
	}
	if p, err = u.inside(parent, name); err != nil {
		return -1, err
	}
	u.made[p] = true
	return unix.Openat(parent, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

// inside is the path, from the root, of an entry of an open directory, to which
// a link may have led.
func (u *unpacker) inside(dir int, name string) (string, error) {
	p, err := realPath(dir)
	if err != nil {
		return "", err
	}
	return path.Join("/", strings.TrimPrefix(p, u.where), name), nil
}

func realPath(fd int) (string, error) {
	p, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return "", fmt.Errorf("find out where a directory is: %w", err)
	}
	return p, nil
}

func (u *unpacker) directory(parent int, name, p string, h *tar.Header) error {
	var st unix.Stat_t
	err := unix.Fstatat(parent, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR:
	case err == nil:
		if err := unix.Unlinkat(parent, name, 0); err != nil {
			return err
		}
		fallthrough
	case errors.Is(err, unix.ENOENT):
		if err := unix.Mkdirat(parent, name, 0o700); err != nil {
			return err
		}
	default:
		return err
	}
	u.named[p], u.times[p] = true, h
	if u.hidden[p] {
		if err := opaque(parent, name); err != nil {
			return err
		}
	}
	return u.attributes(parent, name, h)
}

// makeWay removes what has the name already: the last entry of a name counts.
func (u *unpacker) makeWay(parent int, name string) error {
	err := unix.Unlinkat(parent, name, 0)
	if errors.Is(err, unix.EISDIR) {
		return removeTree(parent, name, maxPath)
	}
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

func (u *unpacker) file(parent int, name string, h *tar.Header, r io.Reader) error {
	if h.Size > u.limits.Bytes-u.result.Bytes {
		return fmt.Errorf("%w: the layer's files are larger than %d bytes together", problem.ErrInvalid, u.limits.Bytes)
	}
	u.result.Bytes += h.Size
	f, err := create(parent, name)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, r, h.Size)
	return errors.Join(err, f.Close())
}

// hardLink links to another file of the same layer.
func (u *unpacker) hardLink(parent int, name, target string) error {
	p, err := clean(target)
	if err != nil {
		return err
	}
	dir, err := u.open(path.Dir(p), unix.O_PATH|unix.O_DIRECTORY)
	if err == nil {
		defer unix.Close(dir)
		err = unix.Linkat(dir, path.Base(p), parent, name, 0)
	}
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%w: a hard link to %.200q, which the layer does not have", problem.ErrInvalid, target)
	}
	return err
}

// finish sets what later entries would have changed again.
func (u *unpacker) finish() error {
	for p, h := range u.times {
		fd, err := u.open(path.Dir(p), unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			continue // replaced by something else since
		}
		err = setTimes(fd, path.Base(p), h)
		unix.Close(fd)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("set time of %q: %w", p, err)
		}
	}
	for p := range u.made {
		if !u.named[p] {
			u.result.Implicit = append(u.result.Implicit, p)
		}
	}
	sortPaths(u.result.Implicit)
	return nil
}
