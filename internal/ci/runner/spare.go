package runner

import (
	"os"
	"path/filepath"
	"sync"

	"github.com/penstock-dev/penstock/internal/base/id"
)

// spares makes empty files beside the running steps. To make a file costs a
// step more than anything else of the runner's (half a millisecond on an ext4
// file system that is well filled); to rename one costs a tenth of that.
type spares struct {
	dir   string // where no step can reach them
	ready chan *os.File
	stop  chan struct{}
	done  sync.WaitGroup
}

// newSpares begins to make files in dir, a few ahead.
func newSpares(dir string) *spares {
	s := &spares{dir: dir, ready: make(chan *os.File, 2), stop: make(chan struct{})}
	s.done.Go(s.supply)
	return s
}

func (s *spares) supply() {
	for {
		f, err := os.OpenFile(filepath.Join(s.dir, id.New()), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return // whoever needs a file makes it, and has the error
		}
		select {
		case s.ready <- f:
		case <-s.stop:
			f.Close()
			return
		}
	}
}

// at returns a new empty file at path, where none is, open for writing.
func (s *spares) at(path string, mode os.FileMode) (*os.File, error) {
	if s != nil {
		select {
		case f := <-s.ready:
			err := f.Chmod(mode)
			if err == nil {
				err = os.Rename(f.Name(), path)
			}
			if err == nil {
				return f, nil
			}
			f.Close() // another file system for one: make it there
		default:
		}
	}
	return os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
}

// close ends the supply. The files go with the job's directories.
func (s *spares) close() {
	if s == nil {
		return
	}
	close(s.stop)
	s.done.Wait()
	for {
		select {
		case f := <-s.ready:
			f.Close()
		default:
			return
		}
	}
}
