package app

import (
	"context"
	"fmt"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/face/api"
	"github.com/penstock-dev/penstock/internal/host/access"
	"github.com/penstock-dev/penstock/internal/host/identity"
)

// identityFace shows users, tokens and sessions to the API.
type identityFace struct {
	*identity.Keeper
	reviewer *access.Reviewer
	url      string // of the server
}

func (f identityFace) LoginURL(code string) string { return f.url + "/login#" + code }

// DeleteUser takes the user's roles in single projects first: whoever gets the
// name later must not find them.
func (f identityFace) DeleteUser(ctx context.Context, name string) error {
	by, ok := api.Caller(ctx)
	if !ok {
		return problem.ErrUnauthenticated
	}
	if err := f.reviewer.TakeAll(ctx, by, name); err != nil {
		return fmt.Errorf("take the roles of %s in single projects: %w", name, err)
	}
	return f.Keeper.DeleteUser(ctx, name)
}
