package runs

import (
	"context"
	"fmt"

	"github.com/penstock-dev/penstock/internal/host/store"
)

// Counts says how much is going on.
type Counts struct {
	QueuedRuns, RunningRuns int64
	QueuedJobs, RunningJobs int64
}

// Counts reads how much is going on.
func (s *Service) Counts(ctx context.Context) (Counts, error) {
	var c Counts
	err := s.DB.Read(ctx, func(q store.Queryer) error {
		// Both look at runs that are not over, which are few and have an index.
		err := q.QueryRowContext(ctx, `SELECT coalesce(sum(CASE status WHEN 'queued' THEN 1 ELSE 0 END), 0), coalesce(sum(CASE status WHEN 'in_progress' THEN 1 ELSE 0 END), 0)
			FROM runs WHERE status <> 'completed'`).Scan(&c.QueuedRuns, &c.RunningRuns)
		if err != nil {
			return err
		}
		return q.QueryRowContext(ctx, `SELECT coalesce(sum(CASE j.status WHEN 'queued' THEN 1 ELSE 0 END), 0), coalesce(sum(CASE j.status WHEN 'in_progress' THEN 1 ELSE 0 END), 0)
			FROM runs r JOIN jobs j ON j.run = r.id WHERE r.status <> 'completed'`).Scan(&c.QueuedJobs, &c.RunningJobs)
	})
	if err != nil {
		return c, fmt.Errorf("count runs: %w", err)
	}
	return c, nil
}
