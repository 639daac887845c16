package runs

import (
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/ci/expr"
)

// githubContext is the github context of a run, all but what is known only
// when it is written (ids, numbers) or when a job runs (workspace, token).
func (s *Service) githubContext(push event.Push, u event.RefUpdate, payload *expr.Object, r Run) *expr.Object {
	owner, _, _ := strings.Cut(push.Repo, "/")
	refName, refType := strings.TrimPrefix(u.Ref, "refs/heads/"), "branch"
	if tag, ok := strings.CutPrefix(u.Ref, "refs/tags/"); ok {
		refName, refType = tag, "tag"
	}
	o := expr.NewObject()
	for _, kv := range []struct {
		key   string
		value expr.Value
	}{
		{"actor", push.Actor}, {"actor_id", number(push.Actor)}, {"triggering_actor", push.Actor},
		{"api_url", s.ServerURL + "/api/v1"}, {"graphql_url", ""}, {"server_url", s.ServerURL},
		{"base_ref", ""}, {"head_ref", ""}, {"event_name", "push"},
		{"ref", u.Ref}, {"ref_name", refName}, {"ref_type", refType}, {"ref_protected", false},
		{"repository", push.Repo}, {"repository_id", number(push.Repo)}, {"repository_owner", owner}, {"repository_owner_id", number(owner)},
		{"repositoryUrl", s.ServerURL + "/git/" + push.Repo + ".git"}, {"repository_visibility", "private"},
		{"retention_days", "90"}, {"run_attempt", "1"}, {"secret_source", "Actions"}, {"sha", r.SHA},
		{"workflow", r.Workflow}, {"workflow_ref", push.Repo + "/" + r.WorkflowPath + "@" + u.Ref}, {"workflow_sha", r.SHA},
		{"event", payload},
	} {
		o.Set(kv.key, kv.value)
	}
	return o
}

// number is a stable id for a name: GitHub's ids are numbers, ours are names.
func number(name string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return strconv.FormatUint(uint64(h.Sum32()), 10)
}

// pushPayload is github.event of a push, the fields that come from the push
// itself.
func (s *Service) pushPayload(push event.Push, u event.RefUpdate, head Commit, defaultBranch string) *expr.Object {
	owner, name, _ := strings.Cut(push.Repo, "/")
	object := func(kv ...any) *expr.Object {
		o := expr.NewObject()
		for i := 0; i+1 < len(kv); i += 2 {
			o.Set(kv[i].(string), kv[i+1])
		}
		return o
	}
	person := func(p Person) *expr.Object { return object("name", p.Name, "email", p.Email) }
	url := s.ServerURL + "/git/" + push.Repo + ".git"
	commit := object("id", head.Hash, "tree_id", head.Tree, "distinct", true, "message", strings.TrimRight(head.Message, "\n"),
		"timestamp", head.At.Format(time.RFC3339), "author", person(head.Author), "committer", person(head.Committer))
	return object(
		"ref", u.Ref, "before", u.Before, "after", u.After,
		"created", u.Before == event.ZeroCommit, "deleted", false,
		"repository", object("name", name, "full_name", push.Repo, "clone_url", url, "default_branch", defaultBranch, "private", true,
			"owner", object("login", owner, "name", owner)),
		"pusher", object("name", push.Actor), "sender", object("login", push.Actor),
		"head_commit", commit, "commits", expr.NewArray(commit),
	)
}
