package runs

import (
	"context"
	"fmt"
	"math"

	"github.com/penstock-dev/penstock/internal/host/store"
)

// ListQuery chooses runs. Empty fields choose all.
type ListQuery struct {
	Repo, Status, Conclusion, Event, Ref, Actor string

	OldestFirst bool
	After       int64 // only runs that come after the one with this id; 0 is from the beginning
	Limit       int
}

// List returns runs without their jobs, the newest first unless the query says
// otherwise.
func (s *Service) List(ctx context.Context, l ListQuery) ([]Run, error) {
	beyond, order := "<", "DESC"
	if l.OldestFirst {
		beyond, order = ">", "ASC"
	} else if l.After == 0 {
		l.After = math.MaxInt64
	}
	list := []Run{}
	err := s.DB.Read(ctx, func(q store.Queryer) error {
		rows, err := q.QueryContext(ctx, `SELECT `+runColumns+` FROM runs
			WHERE ($1 = '' OR repo = $1) AND ($2 = '' OR status = $2) AND ($3 = '' OR conclusion = $3)
			AND ($4 = '' OR event = $4) AND ($5 = '' OR ref = $5) AND ($6 = '' OR actor = $6)
			AND id `+beyond+` $7 ORDER BY id `+order+` LIMIT $8`,
			l.Repo, l.Status, l.Conclusion, l.Event, l.Ref, l.Actor, l.After, l.Limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			r, err := scanRun(rows)
			if err != nil {
				return err
			}
			list = append(list, r)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	return list, nil
}
