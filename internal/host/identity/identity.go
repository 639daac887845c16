// Package identity says who makes a request and what they may do.
//
// There are two kinds of tokens. The admin token belongs to this machine's
// user: it is made at the first start, kept in a file only that user can read,
// and opens everything. A job token belongs to one CI job: it opens the Git
// repositories it was issued for and nothing else, and ends with the job. Job
// tokens are stored as hashes. No token appears in a log or an error.
package identity

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/penstock-dev/penstock/internal/host/store"
)

// Options configures a [Keeper].
type Options struct {
	DB        *store.DB        // required
	TokenFile string           // required: path of the admin token
	Now       func() time.Time // default time.Now
	Log       *slog.Logger     // default discards
}

// Keeper knows all tokens. Its methods may be called from any goroutine.
type Keeper struct {
	db    *store.DB
	now   func() time.Time
	log   *slog.Logger
	admin [32]byte // hash of the admin token

	mu       sync.RWMutex
	jobs     map[string]jobToken // by hash
	failures throttle
}

// New reads the admin token, creating it at the first start, and the job
// tokens that are still valid.
func New(ctx context.Context, o Options) (*Keeper, error) {
	k := &Keeper{db: o.DB, now: o.Now, log: o.Log, failures: throttle{m: map[string]bucket{}}}
	if k.now == nil {
		k.now = time.Now
	}
	if k.log == nil {
		k.log = slog.New(slog.DiscardHandler)
	}
	token, err := adminToken(o.TokenFile)
	if err != nil {
		return nil, err
	}
	k.admin = sum(token)
	if err := k.db.Migrate(ctx, "identity", migrations); err != nil {
		return nil, err
	}
	return k, k.load(ctx)
}

// Principal is who makes a request.
type Principal struct {
	Name  string // "admin", or "run/17/build" for job build of CI run 17
	Admin bool
	Scope Scope // of a job; meaningless for an admin
}

// Scope bounds what a job token opens. Entries are "owner/name", or "owner/*"
// for every repository of an owner.
type Scope struct {
	Read  []string `json:"read"`
	Write []string `json:"write"` // includes reading

	// The same for repositories of images. Entries are "owner/*".
	ReadImages  []string `json:"readImages,omitempty"`
	WriteImages []string `json:"writeImages,omitempty"`
}

// May says whether p may read, or write, the repository called repo.
func (p Principal) May(repo string, write bool) bool {
	if p.Admin || matches(p.Scope.Write, repo) {
		return true
	}
	return !write && matches(p.Scope.Read, repo)
}

func matches(patterns []string, repo string) bool {
	owner, _, ok := strings.Cut(repo, "/")
	if !ok {
		return false
	}
	for _, p := range patterns {
		if p == repo || p == owner+"/*" {
			return true
		}
	}
	return false
}
