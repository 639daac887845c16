//go:build linux

package buildkit

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/worker"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
)

// relief makes room after a build that failed on a disk that is nearly full.
//
// BuildKit keeps what a failed step wrote until Go's garbage collector finds
// that nobody looks at the failure any more, and bounds its cache once a
// minute. Until then the next build, however small, would fail on the same
// disk. On one that is entirely full not even that helps, as removing cache
// writes to its databases first; for that there is a reserve, a file that is
// given up while room is made.
//
// BuildKit tries to let go of what a step wrote once. When that fails, for want
// of room for its databases, only the next start of the builder finds it. So
// the reserve is given up as soon as a step ends on a full disk.
type relief struct {
	root   string
	worker worker.Worker // set before the first build
	log    *slog.Logger
}

// reserveSize has to hold the pages that databases write while they shrink.
const reserveSize = 16 << 20

// reliefRounds bounds how often one failed build looks for room.
const reliefRounds = 5

// intercept is a gRPC interceptor. It has to be outside of the one that turns
// errors into statuses, because the error itself holds on to the failed step.
func (r *relief) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	resp, err := handler(ctx, req)
	if !strings.HasSuffix(info.FullMethod, "Control/Solve") {
		return resp, err
	}
	if err != nil && lowOnSpace(r.root, r.owed(), 10) {
		r.makeRoom(context.WithoutCancel(ctx))
	}
	if owed := r.owed(); owed > 0 && !lowOnSpace(r.root, owed, 100) {
		r.reserve()
	}
	return resp, err
}

// stepEnded gives up the reserve when a step has filled the disk.
func (r *relief) stepEnded() {
	if lowOnSpace(r.root, 0, 100) {
		r.giveUp()
	}
}

// begin makes room at the start of the builder, where it is missing.
func (r *relief) begin(ctx context.Context) {
	if lowOnSpace(r.root, r.owed(), 10) {
		r.makeRoom(ctx)
	}
	r.reserve()
}

// makeRoom prunes the cache. It gives up the reserve, which the caller takes
// again.
func (r *relief) makeRoom(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	r.giveUp()
	for range reliefRounds {
		runtime.GC() // lets go of failed steps
		select {
		case <-ctx.Done():
			return
		case <-time.After(50 * time.Millisecond): // finalizers run beside
		}
		if err := r.prune(ctx); err != nil {
			r.log.Warn("build cache could not be pruned", "error", err.Error()) // as a value it has a stack trace
			return
		}
		if !lowOnSpace(r.root, reserveSize, 10) { // which is taken again
			return
		}
	}
	r.log.Warn("disk of the image builder is nearly full, and its cache has nothing left to remove", "root", r.root)
}

func reservePath(root string) string { return filepath.Join(root, "reserve") }

// owed is the space that the reserve is going to take.
func (r *relief) owed() uint64 {
	if _, err := os.Stat(reservePath(r.root)); err != nil {
		return reserveSize
	}
	return 0
}

func (r *relief) giveUp() {
	if err := os.Remove(reservePath(r.root)); err != nil && !errors.Is(err, os.ErrNotExist) {
		r.log.Warn("reserve of the image builder could not be given up", "error", err)
	}
}

// reserve takes the reserve. On a disk without room for it the builder works
// without.
func (r *relief) reserve() {
	f, err := os.OpenFile(reservePath(r.root), os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		err = errors.Join(unix.Fallocate(int(f.Fd()), 0, 0, reserveSize), f.Close())
	}
	if err != nil {
		_ = os.Remove(reservePath(r.root)) // a part of it is of no use
		r.log.Warn("image builder has no reserve on its disk", "error", err)
	}
}

func (r *relief) prune(ctx context.Context) error {
	removed := make(chan client.UsageInfo)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for u := range removed {
			r.log.Debug("build cache removed", "id", u.ID, "bytes", u.Size)
		}
	}()
	err := r.worker.Prune(ctx, removed, r.worker.GCPolicy()...)
	close(removed)
	<-done
	if err != nil {
		return err
	}
	return r.worker.GarbageCollect(ctx)
}

// lowOnSpace says whether less than one part in so many of dir's file system
// would be free with taken bytes less. The cache's policy keeps a tenth free.
func lowOnSpace(dir string, taken, part uint64) bool {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return false
	}
	return st.Bavail*uint64(st.Bsize) < st.Blocks*uint64(st.Bsize)/part+taken
}
