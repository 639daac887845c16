package app

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/penstock-dev/penstock/internal/host/node"
)

// nodeRegistry tells the machine's node where the registry is. The node
// remembers it, so this matters at the first start, and when the address or
// the token has changed.
type nodeRegistry struct {
	socket  string
	setting node.Registry
	told    atomic.Bool
	log     *slog.Logger
}

func newNodeRegistry(socket string, r node.Registry, log *slog.Logger) *nodeRegistry {
	return &nodeRegistry{socket: socket, setting: r, log: log}
}

const (
	// tellAgain is how often a node is told what it knows: it may be another
	// one by then.
	tellAgain = time.Minute
	// tellWait is how long a first attempt waits for the next one, at most.
	tellWait = 2 * time.Second
)

// Run tells the node until ctx is done.
func (n *nodeRegistry) Run(ctx context.Context) error {
	c := node.New(n.socket)
	pause := 50 * time.Millisecond
	for {
		wait := pause
		attempt, cancel := context.WithTimeout(ctx, 10*time.Second)
		err := c.SetRegistry(attempt, n.setting)
		cancel()
		switch {
		case err == nil:
			n.told.Store(true)
			wait = tellAgain
		case ctx.Err() == nil && !n.absent():
			n.log.Debug("the node was not told about the registry", "error", err)
		}
		pause = min(2*pause, tellWait)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// Ready says that a node that is there knows the registry. Without a node,
// there is nothing to wait for.
func (n *nodeRegistry) Ready() error {
	if n.told.Load() || n.absent() {
		return nil
	}
	return errors.New("the node was not told about the registry yet")
}

func (n *nodeRegistry) absent() bool {
	_, err := os.Stat(n.socket)
	return errors.Is(err, fs.ErrNotExist)
}
