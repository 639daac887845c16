// Package etcd runs the cluster's store in this process, reachable only over a
// unix socket in the data directory.
package etcd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"

	"github.com/penstock-dev/penstock/node/internal/fault"
)

// Options say where etcd keeps its data and listens.
type Options struct {
	Dir        string
	Socket     string
	PeerSocket string
	Log        *slog.Logger
}

// quota is the size at which etcd refuses writes. The default of 2 GiB is
// reached by CI machines that create many objects.
const quota = 8 << 30

// Run runs etcd until ctx is done.
func Run(ctx context.Context, o Options, ready func()) error {
	for _, s := range []string{o.Socket, o.PeerSocket} {
		// A socket file of a killed process refuses the next listener. The
		// lock of the data directory says that nobody listens on it now.
		if err := os.Remove(s); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the old socket: %w", err)
		}
	}
	var stopping atomic.Bool
	e, err := startEtcd(config(o, &stopping))
	if err != nil {
		return explain(err, o.Dir)
	}
	defer func() {
		stopping.Store(true)
		e.Close()
	}()
	select {
	case <-e.Server.ReadyNotify():
		ready()
	case err := <-e.Err():
		return explain(err, o.Dir)
	case <-e.Server.StopNotify():
		return explain(errors.New("stopped while starting"), o.Dir)
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-e.Err():
		return explain(err, o.Dir)
	case <-ctx.Done():
		return nil
	}
}

// startEtcd turns the panics by which etcd reports a data directory that it
// cannot use into errors.
func startEtcd(c *embed.Config) (e *embed.Etcd, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("etcd gives up: %v", p)
		}
	}()
	return embed.StartEtcd(c)
}

func config(o Options, stopping *atomic.Bool) *embed.Config {
	c := embed.NewConfig()
	c.Name = "penstock"
	c.Dir = o.Dir
	client := []url.URL{{Scheme: "unix", Path: o.Socket}}
	peer := []url.URL{{Scheme: "unix", Path: o.PeerSocket}}
	c.ListenClientUrls, c.AdvertiseClientUrls = client, client
	c.ListenPeerUrls, c.AdvertisePeerUrls = peer, peer
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	// There is one member: an election needs no time for others to answer.
	c.TickMs, c.ElectionMs = 10, 100
	c.QuotaBackendBytes = quota
	// The apiserver compacts what it does not need any more.
	c.AutoCompactionRetention = "0"
	c.SnapshotCount = 10_000
	c.EnableGRPCGateway = false
	c.AuthToken = "" // the socket's permissions are the authentication
	c.UnsafeNoFsync = false
	c.WarningUnaryRequestDuration = 2 * time.Second
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.New(newCore(o.Log, stopping), zap.WithFatalHook(fatal{o})))
	return c
}

// room is what etcd needs: it makes its log in segments of 64 MB.
const room = 64 << 20

// explain adds a hint to errors that a person can do something about. etcd
// rarely hands out the cause, so the directory itself is looked at.
func explain(err error, dir string) error {
	e := &fault.Error{Op: "run etcd", Subject: dir, Err: err}
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) == nil && uint64(st.Bsize)*st.Bavail < room && !errors.Is(err, unix.ENOSPC) {
		e.Err = fmt.Errorf("%w (%w: %d MB are free)", err, unix.ENOSPC, uint64(st.Bsize)*st.Bavail>>20)
	}
	switch {
	case errors.Is(e.Err, unix.ENOSPC):
		e.Hint = "free space on the file system of " + dir
	case errors.Is(err, fs.ErrPermission):
		e.Hint = "give root write access to " + dir
	case missing(filepath.Join(dir, "member", "wal")) && !missing(filepath.Join(dir, "member", "snap", "db")):
		e.Hint = "the write-ahead log in " + dir + " is gone; restore it, or start anew with: penstock-node stop --wipe"
	}
	return e
}

// fatal ends the process when etcd cannot go on, as etcd asks of its logger:
// what it could not write must not be taken for written.
type fatal struct{ o Options }

// OnWrite implements zapcore.CheckWriteHook.
func (f fatal) OnWrite(ce *zapcore.CheckedEntry, _ []zapcore.Field) {
	err := explain(errors.New(ce.Message), f.o.Dir)
	f.o.Log.Error("etcd cannot go on, the node ends", "error", err, "hint", fault.Hint(err))
	os.Exit(fault.ExitFailed) //nolint:forbidigo // the contract of this hook: it must not return, and nothing may run after it
}

func missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}
