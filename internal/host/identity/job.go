package identity

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/base/id"
	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// Job names the CI job that a token is for.
type Job struct {
	Run int64
	Job string
}

func (j Job) name() string { return "run/" + strconv.FormatInt(j.Run, 10) + "/" + j.Job }

type jobToken struct {
	Job
	scope   Scope
	expires time.Time
}

// maxLife bounds how long a job token can be valid.
const maxLife = 25 * time.Hour

// Issue makes a token for job that opens scope until it is revoked, at most
// for life. The token is not stored and cannot be asked for again.
func (k *Keeper) Issue(ctx context.Context, job Job, scope Scope, life time.Duration) (token string, err error) {
	if job.Run < 1 || job.Job == "" || life <= 0 || life > maxLife {
		return "", fmt.Errorf("issue job token for %s, valid %s: %w", job.name(), life, problem.ErrInvalid)
	}
	for _, p := range slices.Concat(scope.Read, scope.Write, scope.ReadImages, scope.WriteImages) {
		if owner, name, ok := strings.Cut(p, "/"); !ok || owner == "" || owner == "*" || name == "" {
			return "", fmt.Errorf("issue job token for %s: scope %q is not owner/name or owner/*: %w", job.name(), p, problem.ErrInvalid)
		}
	}
	text, err := json.Marshal(scope)
	if err != nil {
		return "", fmt.Errorf("encode scope: %w", err)
	}
	token = id.Secret(jobPrefix)
	h := sum(token)
	key := hex.EncodeToString(h[:])
	t := jobToken{job, scope, k.now().Add(life)}
	err = k.db.Write(ctx, func(tx store.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM job_tokens WHERE expires < ?`, store.FormatTime(k.now())); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO job_tokens VALUES (?, ?, ?, ?, ?)`,
			key, job.Run, job.Job, string(text), store.FormatTime(t.expires))
		return err
	})
	if err != nil {
		return "", fmt.Errorf("issue job token for %s: %w", job.name(), err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for key, t := range k.jobs {
		if !k.now().Before(t.expires) {
			delete(k.jobs, key)
		}
	}
	k.jobs[key] = t
	return token, nil
}

// Revoke ends all tokens of job at once.
func (k *Keeper) Revoke(ctx context.Context, job Job) error {
	k.mu.Lock()
	for key, t := range k.jobs {
		if t.Job == job {
			delete(k.jobs, key)
		}
	}
	k.mu.Unlock()
	err := k.db.Write(ctx, func(tx store.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM job_tokens WHERE run = ? AND job = ?`, job.Run, job.Job)
		return err
	})
	if err != nil {
		return fmt.Errorf("revoke tokens of %s: %w", job.name(), err)
	}
	return nil
}

// load reads the job tokens that outlived the last process.
func (k *Keeper) load(ctx context.Context) error {
	jobs := map[string]jobToken{}
	err := k.db.Read(ctx, func(q store.Queryer) error {
		rows, err := q.QueryContext(ctx, `SELECT hash, run, job, scope, expires FROM job_tokens WHERE expires > ?`, store.FormatTime(k.now()))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var t jobToken
			var key, scope, expires string
			if err := rows.Scan(&key, &t.Run, &t.Job.Job, &scope, &expires); err != nil {
				return err
			}
			if err := json.Unmarshal([]byte(scope), &t.scope); err != nil {
				return fmt.Errorf("scope of %s: %w", t.name(), err)
			}
			if t.expires, err = store.ParseTime(expires); err != nil {
				return fmt.Errorf("expiry of %s: %w", t.name(), err)
			}
			jobs[key] = t
		}
		return rows.Err()
	})
	if err != nil {
		return fmt.Errorf("read job tokens: %w", err)
	}
	k.jobs = jobs
	return nil
}

func sum(token string) [32]byte { return sha256.Sum256([]byte(token)) }
