package git

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// A push adds one pack. From this many on they are made into one.
const manyPacks = 40

// maintainTime bounds one run of git gc.
const maintainTime = 30 * time.Minute

// grew notes that a push has added to the repository.
func (s *Server) grew(name string) {
	s.mu.Lock()
	s.packs[name] = struct{}{}
	s.mu.Unlock()
	poke(s.packed)
}

// maintainLoop calls maintain whenever a repository has grown.
func (s *Server) maintainLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.packed:
			s.maintain(ctx)
		}
	}
}

// maintain packs the repositories that have grown, one after another, beside
// pushes and fetches: git keeps for two weeks what nothing refers to.
func (s *Server) maintain(ctx context.Context) {
	s.mu.Lock()
	var names []string
	for n := range s.packs {
		names = append(names, n)
	}
	clear(s.packs)
	s.mu.Unlock()
	for _, name := range names {
		packs, err := filepath.Glob(filepath.Join(s.dir(name), "objects", "pack", "*.pack"))
		if err != nil || len(packs) < manyPacks || ctx.Err() != nil {
			continue
		}
		start := time.Now()
		if err := s.gc(ctx, name); err != nil {
			s.log.Warn("git gc failed", "repo", name, "error", err)
			continue
		}
		s.log.Info("packed repository", "repo", name, "packs", len(packs), "took", time.Since(start).Round(time.Millisecond))
	}
}

func (s *Server) gc(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, maintainTime)
	defer cancel()
	used, err := s.shared(ctx, name)
	if err != nil {
		return err
	}
	defer used.Close()
	cmd := s.git.command(ctx, s.dir(name), "gc", "--quiet")
	cmd.ExtraFiles = []*os.File{used}
	said := &head{max: 4 << 10}
	cmd.Stderr = said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, said.lastLine())
	}
	return nil
}
