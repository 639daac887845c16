// Package identity says who makes a request and what they may do.
//
// A request carries one of these secrets, all of them stored as hashes:
//
//   - the admin token: it belongs to this machine's user, is made at the first
//     start, kept in a file that only that user can read, and opens everything;
//   - an API token of a user, narrowed by its scopes and projects, with an end;
//   - a session cookie of a browser, got for a login link that works once;
//   - a job token: it belongs to one CI job, opens the Git repositories it was
//     issued for and nothing else, and ends with the job.
//
// What a user may do is decided by Kubernetes RBAC, see [Reviewer]; tokens only
// narrow it. No secret appears in a log or an error.
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
	Reviewer  Reviewer         // decides what users may do; without one, nothing
	Now       func() time.Time // default time.Now
	Log       *slog.Logger     // default discards
}

// Keeper knows all users and secrets. Its methods may be called from any
// goroutine.
type Keeper struct {
	db       *store.DB
	reviewer Reviewer
	now      func() time.Time
	log      *slog.Logger
	admin    [32]byte // hash of the admin token

	mu       sync.RWMutex
	jobs     map[string]jobToken // by hash
	failures throttle
}

// New reads the admin token, creating it at the first start, and the job
// tokens that are still valid.
func New(ctx context.Context, o Options) (*Keeper, error) {
	k := &Keeper{db: o.DB, reviewer: o.Reviewer, now: o.Now, log: o.Log, failures: throttle{m: map[string]bucket{}}}
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

// adminName is the user that this machine's administrator is.
const adminName = "admin"

// Principal is who makes a request.
type Principal struct {
	Name  string   // "admin", "ann", or "run/17/build" for job build of CI run 17
	Via   string   // how they were known: "admin-token", "token/<id>", "session/<id>", "job-token"
	Admin bool     // this machine's administrator, who may do everything
	Roles []string // of a user, in all projects
	Job   bool     // a CI job
	Scope Scope    // of a job; meaningless for others

	limits  limits // of an API token
	session string // id of the session, "" without one
	csrf    string // what a session's writes must carry
}

// Groups are the Kubernetes groups of p: one for each of its roles.
func (p Principal) Groups() []string {
	roles := p.Roles
	if p.Admin {
		roles = []string{RoleAdmin}
	}
	groups := make([]string, len(roles))
	for i, r := range roles {
		groups[i] = GroupPrefix + r
	}
	return groups
}

// GroupPrefix comes before the name of a role in the name of its group.
const GroupPrefix = "penstock:"

// CSRF is what writes of a browser's session must carry in the header
// [CSRFHeader]; "" for others.
func (p Principal) CSRF() string { return p.csrf }

// Session is the id of the session by which p is known, "" for others.
func (p Principal) Session() string { return p.session }

// Scope bounds what a job token opens. Entries are "owner/name", or "owner/*"
// for every repository of an owner.
type Scope struct {
	Read  []string `json:"read"`
	Write []string `json:"write"` // includes reading

	// The same for repositories of images. Entries are "owner/*".
	ReadImages  []string `json:"readImages,omitempty"`
	WriteImages []string `json:"writeImages,omitempty"`
}

// May says whether p may read, or write, the repository called repo as an
// administrator or a job. What users may do, [Keeper.Allow] says.
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
