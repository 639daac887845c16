package runs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/base/failpoint"
	"github.com/penstock-dev/penstock/internal/base/id"
	"github.com/penstock-dev/penstock/internal/ci/jobdir"
	"github.com/penstock-dev/penstock/internal/host/blob"
	"github.com/penstock-dev/penstock/internal/host/logstore"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// What a job leaves moves into blobs once it has ended: its logs, sealed, and
// its summaries. Its directory stays a little longer, for readers that follow
// and for people who look why, and is removed then.

const (
	defaultKeepDirs = time.Hour
	sealEvery       = time.Minute // without being woken: what failed, and what has become old
	sealBatch       = 100
)

// The keys of a job's blobs.
func jobKey(run int64, key string) string {
	if len(key) > 100 { // longer than a key may be
		key = "=" + id.Of(key)
	}
	return fmt.Sprintf("ci/%d/%s/", run, key)
}

func logKey(run int64, key string, step int) string {
	return jobKey(run, key) + strconv.Itoa(step) + ".log"
}

func summaryKey(run int64, key string, step int) string {
	return jobKey(run, key) + strconv.Itoa(step) + ".summary.md"
}

// seal works until ctx ends.
func (s *Service) seal(ctx context.Context) {
	tick := time.NewTicker(sealEvery)
	defer tick.Stop()
	for {
		if err := errors.Join(s.sealJobs(ctx), s.pruneJobs(ctx)); err != nil && ctx.Err() == nil {
			s.Log.Error("cannot put away what jobs left", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-s.sealable:
		case <-tick.C:
		}
	}
}

// endedJob is a job that has ended.
type endedJob struct {
	id  int64
	run int64
	key string
}

func (s *Service) endedJobs(ctx context.Context, where string, after int64, args ...any) (list []endedJob, err error) {
	err = s.DB.Read(ctx, func(q store.Queryer) error {
		rows, err := q.QueryContext(ctx, `SELECT id, run, key FROM jobs WHERE pruned = 0 AND engine = ? AND status = 'completed'
			AND id > ? AND `+where+` ORDER BY id LIMIT ?`, append(append([]any{engineActions, after}, args...), sealBatch)...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var j endedJob
			if err := rows.Scan(&j.id, &j.run, &j.key); err != nil {
				return err
			}
			list = append(list, j)
		}
		return rows.Err()
	})
	return list, err
}

// sealJobs seals the logs of all jobs that have ended since.
func (s *Service) sealJobs(ctx context.Context) error {
	var errs []error
	for after := int64(0); ; {
		list, err := s.endedJobs(ctx, `sealed_at = ''`, after)
		if err != nil || len(list) == 0 {
			return errors.Join(append(errs, err)...)
		}
		var sealed, absent []endedJob
		for _, j := range list {
			after = j.id
			dir := s.dir(j.run, j.key)
			living, err := dir.Alive()
			if err == nil && living {
				continue // it says its last words
			}
			if err == nil {
				err = s.sealJob(ctx, dir, j)
			}
			switch {
			case errors.Is(err, fs.ErrNotExist):
				absent = append(absent, j)
			case err != nil:
				errs = append(errs, fmt.Errorf("job %s of run %d: %w", j.key, j.run, err))
			default:
				sealed = append(sealed, j)
			}
		}
		if err := s.recordSealed(ctx, sealed, absent); err != nil {
			return errors.Join(append(errs, err)...)
		}
	}
}

// recordSealed records whose logs are in blobs, and who never had a directory.
func (s *Service) recordSealed(ctx context.Context, sealed, absent []endedJob) error {
	if len(sealed)+len(absent) == 0 {
		return nil
	}
	now := store.FormatTime(s.Now())
	failpoint.Hit("ci.seal.before")
	err := s.DB.Write(ctx, func(tx store.Tx) error {
		for i, j := range append(sealed, absent...) {
			pruned := 0
			if i >= len(sealed) {
				pruned = 1
			}
			if _, err := tx.ExecContext(ctx, `UPDATE jobs SET sealed_at = ?, pruned = ? WHERE id = ?`, now, pruned, j.id); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		failpoint.Hit("ci.seal.after")
	}
	return err
}

// sealJob puts the logs and summaries of a job into blobs. The error wraps
// fs.ErrNotExist when the job has no directory.
func (s *Service) sealJob(ctx context.Context, dir jobdir.Dir, j endedJob) error {
	if _, err := os.Lstat(string(dir)); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Dir(dir.Log(1)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // its launch failed early
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if n, err := strconv.Atoi(strings.TrimSuffix(name, ".log")); err == nil {
			if _, err := logstore.Seal(ctx, dir.Log(n), s.Blobs, logKey(j.run, j.key, n)); err != nil {
				return hideNotExist(err)
			}
			continue
		}
		if n, err := strconv.Atoi(strings.TrimSuffix(name, ".summary.md")); err == nil {
			if err := s.putFile(ctx, dir.Summary(n), summaryKey(j.run, j.key, n)); err != nil {
				return hideNotExist(err)
			}
		}
	}
	return nil
}

// hideNotExist keeps a file that vanished from looking like a job without a
// directory.
func hideNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New(err.Error())
	}
	return err
}

func (s *Service) putFile(ctx context.Context, path, key string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = s.Blobs.Put(ctx, key, f, blob.Expect{})
	return err
}

// pruneJobs removes the directories of jobs that were sealed long enough ago.
func (s *Service) pruneJobs(ctx context.Context) error {
	old := store.FormatTime(s.Now().Add(-s.KeepDirs))
	for after := int64(0); ; {
		list, err := s.endedJobs(ctx, `sealed_at <> '' AND sealed_at <= ?`, after, old)
		if err != nil || len(list) == 0 {
			return err
		}
		for _, j := range list {
			after = j.id
			if err := os.RemoveAll(string(s.dir(j.run, j.key))); err != nil {
				return fmt.Errorf("remove directory of job %s of run %d: %w", j.key, j.run, err)
			}
		}
		err = s.DB.Write(ctx, func(tx store.Tx) error {
			for _, j := range list {
				if _, err := tx.ExecContext(ctx, `UPDATE jobs SET pruned = 1 WHERE id = ?`, j.id); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}
