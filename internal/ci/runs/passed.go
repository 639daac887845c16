package runs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/penstock-dev/penstock/internal/host/store"
)

// Passed says whether a check has passed for a commit: the job of that name, or
// "WORKFLOW / JOB", in the newest run that has it. As on GitHub a job that was
// skipped has passed.
func (s *Service) Passed(ctx context.Context, repo, commit, check string) (bool, error) {
	var conclusion string
	err := s.DB.Read(ctx, func(q store.Queryer) error {
		return q.QueryRowContext(ctx, `SELECT jobs.conclusion FROM jobs JOIN runs ON runs.id = jobs.run
			WHERE runs.repo = $1 AND runs.sha = $2 AND (jobs.name = $3 OR runs.workflow || ' / ' || jobs.name = $3)
			ORDER BY runs.id DESC LIMIT 1`, repo, commit, check).Scan(&conclusion)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("results of %s at %s: %w", repo, commit, err)
	}
	return conclusion == "success" || conclusion == "skipped", nil
}
