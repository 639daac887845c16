package git

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// sizes is the check that a push is not larger than the repository may be. (How
// large the push itself may be, git's index-pack counts while it comes in.)
type sizes struct {
	server           *Server
	file, repository int64
}

func (c sizes) CheckPush(ctx context.Context, p Incoming) ([]Refusal, error) {
	if p.Objects.dir == "" {
		return nil, nil
	}
	have, err := treeSize(filepath.Join(c.server.dir(p.Repo), "objects"))
	if err != nil {
		return nil, err
	}
	// The quarantine is a directory among the objects.
	if have > c.repository {
		return []Refusal{{
			Reason: "repository too large",
			Message: fmt.Sprintf("error: with this push %s would take %s, more than the %s that a repository may have here.",
				p.Repo, bytesText(have), bytesText(c.repository)),
		}}, nil
	}
	var large *Object
	tooLarge := errors.New("too large")
	err = p.Objects.Each(ctx, func(o Object) error {
		if o.Type == "blob" && o.Size > c.file {
			large = &o
			return tooLarge
		}
		return nil
	})
	if large == nil {
		return nil, err
	}
	name := p.Objects.path(ctx, p.Updates, large.Hash)
	if name == "" {
		name = "object " + large.Hash
	}
	return []Refusal{{
		Reason: "file too large",
		Message: fmt.Sprintf("error: %s has %s, more than the %s that a file may have here.\nKeep large files in Git LFS: git lfs migrate import --include=%q",
			name, bytesText(large.Size), bytesText(c.file), name),
	}}, nil
}

// treeSize adds up the files under dir. What goes away meanwhile counts as
// nothing.
func treeSize(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			var fi fs.FileInfo
			if fi, err = d.Info(); err == nil {
				total += fi.Size()
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return total, err
}

// bytesText writes a size for people.
func bytesText(n int64) string {
	units := []string{"bytes", "KiB", "MiB", "GiB", "TiB"}
	v, i := float64(n), 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	if i == 0 || v == float64(int64(v)) {
		return fmt.Sprintf("%d %s", int64(v), units[i])
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}
