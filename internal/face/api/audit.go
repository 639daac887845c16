package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/audit"
)

// Audit is the log of who wrote what.
type Audit interface {
	Begin(ctx context.Context, e audit.Entry) context.Context
	End(ctx context.Context, outcome string, status int, detail string) error
	List(ctx context.Context, q audit.Query) ([]audit.Entry, error)
}

type auditQuery struct {
	Paging
	Actor    string `query:"actor" maxLength:"100"`
	Project  string `query:"project" maxLength:"100"`
	Resource string `query:"resource" maxLength:"100"`
	Outcome  string `query:"outcome" enum:"succeeded,refused,failed"`
}

// Audit records every write of this API and registers /api/v1/audit.
func (a *API) Audit(s Audit) {
	a.audit = s
	handle(a, route("list-audit", http.MethodGet, "/api/v1/audit", "audit", "List who wrote what, newest first", http.StatusUnprocessableEntity),
		need{verb: "list", resource: "audit", scoped: true},
		func(_ context.Context, in *auditQuery) (target, error) { return target{project: in.Project}, nil },
		func(ctx context.Context, in *auditQuery) (*body[Page[audit.Entry]], error) {
			page, err := listAudit(ctx, s, in)
			return &body[Page[audit.Entry]]{page}, err
		})
}

func listAudit(ctx context.Context, s Audit, in *auditQuery) (Page[audit.Entry], error) {
	q := audit.Query{Actor: in.Actor, Project: in.Project, Resource: in.Resource, Outcome: in.Outcome}
	return pageBySeq(in.Paging, listID("audit", in.Actor, in.Project, in.Resource, in.Outcome), seesAll(ctx),
		func(after int64, limit int) ([]audit.Entry, error) {
			q.Before, q.Limit = after, limit
			return s.List(ctx, q)
		},
		func(e audit.Entry) (int64, bool) { return e.Seq, sees(ctx, e.Project) })
}

// maxLook bounds how much is looked through for a caller who sees little.
const maxLook = 5000

// pageBySeq makes a piece of a list that is read in order of numbers. read
// gives what comes after a number, 0 for the beginning; of gives the number of
// an item and whether it is shown. all says that everything is.
func pageBySeq[T any](p Paging, list string, all bool, read func(after int64, limit int) ([]T, error), of func(T) (seq int64, shown bool)) (Page[T], error) {
	out := Page[T]{Items: []T{}}
	key, err := p.after(list)
	if err != nil {
		return out, err
	}
	var after int64
	if key != "" {
		if after, err = strconv.ParseInt(key, 10, 64); err != nil || after < 1 {
			return out, fmt.Errorf("the cursor is not one that this server gave: %w", problem.ErrInvalid)
		}
	}
	limit := p.Limit + 1
	if !all {
		limit = 500
	}
	for looked := 0; looked < maxLook; {
		some, err := read(after, limit)
		if err != nil {
			return out, err
		}
		for _, item := range some {
			if len(out.Items) == p.Limit {
				out.Next = cursor{list, strconv.FormatInt(after, 10)}.String()
				return out, nil
			}
			seq, shown := of(item)
			if after = seq; shown {
				out.Items = append(out.Items, item)
			}
		}
		if len(some) < limit {
			return out, nil
		}
		looked += len(some)
	}
	out.Next = cursor{list, strconv.FormatInt(after, 10)}.String()
	return out, nil
}
