package app

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/host/exec"
	"github.com/penstock-dev/penstock/internal/host/exec/container"
	"github.com/penstock-dev/penstock/internal/host/exec/sandbox"
	"github.com/penstock-dev/penstock/internal/host/image"
	"github.com/penstock-dev/penstock/internal/host/image/unpack"
)

// lazyContainer makes the runtime when the job opens its session, so that what
// is missing on this machine is in the job's log.
type lazyContainer struct {
	dataDir, listen string
	image           string // of jobs that name none
	log             *slog.Logger
}

func (lazyContainer) Name() string { return "container" }

func (l lazyContainer) Open(ctx context.Context, spec exec.SessionSpec) (exec.Session, error) {
	boxes, err := newSandbox(l.dataDir, l.log)
	if err != nil {
		return nil, err
	}
	s, err := l.open(ctx, boxes, spec)
	if err != nil {
		return nil, errors.Join(err, boxes.Close())
	}
	return sandboxSession{s, boxes.Close}, nil
}

func (l lazyContainer) open(ctx context.Context, boxes *sandbox.Runtime, spec exec.SessionSpec) (exec.Session, error) {
	store, err := newImageStore(l.dataDir, l.listen, l.log)
	if err != nil {
		return nil, err
	}
	r, err := container.New(boxes, store, l.image)
	if err != nil {
		return nil, err
	}
	return r.Open(ctx, spec)
}

// newImageStore opens the images that jobs run in. This machine's registry is
// asked first: it knows aliases and copies of other registries' images.
func newImageStore(dataDir, listen string, log *slog.Logger) (*image.Store, error) {
	token, err := os.ReadFile(filepath.Join(dataDir, "registry", "node.token"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	src := &image.Sources{Log: log, Mirrors: []image.Mirror{{URL: "http://" + registryAddress(listen), Token: strings.TrimSpace(string(token))}}}
	return image.NewStore(filepath.Join(dataDir, "ci", "images"), src, unpack.DefaultLimits)
}

// imagesKept is how long images stay that no job has used.
const imagesKept = 30 * 24 * time.Hour

// pruneImages removes those that have not been used for long.
func pruneImages(ctx context.Context, dataDir string, log *slog.Logger) error {
	dir := filepath.Join(dataDir, "ci", "images")
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil // no job has ever had an image
	}
	store, err := image.NewStore(dir, &image.Sources{Log: log}, unpack.DefaultLimits)
	if err != nil {
		return err
	}
	freed, err := store.Prune(ctx, time.Now().Add(-imagesKept))
	if freed > 0 {
		log.Info("removed images that no job used", "bytes", freed)
	}
	return err
}
