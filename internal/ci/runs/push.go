package runs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"sort"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/base/failpoint"
	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/ci/expr"
	"github.com/penstock-dev/penstock/internal/ci/workflow"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// consumer is this room's name in the event log's cursors.
const consumer = "ci.runs"

// workflowDir is where workflow files are.
const workflowDir = ".github/workflows"

// maxWorkflows of one commit.
const maxWorkflows = 100

// takePushes turns every push after the cursor into runs. The runs of one push
// and the cursor are written together, so a push has its runs exactly once.
func (s *Service) takePushes(ctx context.Context) error {
	for {
		var events []store.Event
		err := s.DB.Read(ctx, func(q store.Queryer) error {
			at, err := store.Cursor(ctx, q, consumer)
			if err != nil {
				return err
			}
			events, err = store.EventsAfter(ctx, q, event.TypePush, at, 100)
			return err
		})
		if err != nil || len(events) == 0 {
			return err
		}
		for _, e := range events {
			var push event.Push
			if err := json.Unmarshal(e.Data, &push); err != nil {
				s.Log.Error("push event cannot be read", "event", e.ID, "error", err)
			}
			planned, err := s.plan(ctx, e.ID, push)
			switch {
			case err == nil:
			case ctx.Err() == nil && s.hopeless(e.Seq):
				// One repository that cannot be read must not keep all others
				// from having runs.
				s.Log.Error("push starts no runs: its repository cannot be read", "repo", push.Repo, "event", e.ID, "error", err)
				planned = nil
			default:
				return fmt.Errorf("plan runs of push to %s: %w", push.Repo, err)
			}
			failpoint.Hit("ci.runs.created.before")
			if err := s.record(ctx, e.Seq, planned); err != nil {
				return fmt.Errorf("record runs of push to %s: %w", push.Repo, err)
			}
			failpoint.Hit("ci.runs.created.after")
		}
	}
}

// patience is how long the reading of one push is tried.
const patience = time.Minute

// hopeless says whether the push at seq has failed to be read for so long that
// trying again makes no sense.
func (s *Service) hopeless(seq int64) bool {
	if s.failing.seq != seq {
		s.failing.seq, s.failing.since = seq, s.Now()
	}
	return s.Now().Sub(s.failing.since) >= patience
}

// maxTags is up to how many tags of one push start runs, as on GitHub: a
// repository that moves here with all its tags starts none.
const maxTags = 3

// planned is a run that is about to be written.
type planned struct {
	Run
	eventID  string
	source   string
	github   *expr.Object
	workflow *workflow.Workflow // nil for a file with faults
}

// plan finds the runs that a push starts.
func (s *Service) plan(ctx context.Context, eventID string, push event.Push) ([]planned, error) {
	if s.IsJob != nil && s.IsJob(push.Actor) {
		s.Log.Info("push by a job starts no runs", "repo", push.Repo, "actor", push.Actor)
		return nil, nil
	}
	tags := 0
	for _, u := range push.Updates {
		if strings.HasPrefix(u.Ref, "refs/tags/") {
			tags++
		}
	}
	if tags > maxTags {
		s.Log.Info("push of many tags starts no runs for them", "repo", push.Repo, "tags", tags)
	}
	var out []planned
	for _, u := range push.Updates {
		isTag := strings.HasPrefix(u.Ref, "refs/tags/")
		if u.After == event.ZeroCommit || !isTag && !strings.HasPrefix(u.Ref, "refs/heads/") || isTag && tags > maxTags {
			continue
		}
		runs, err := s.planUpdate(ctx, eventID, push, u)
		if errors.Is(err, problem.ErrNotFound) || errors.Is(err, problem.ErrInvalid) {
			// The repository or the commit is gone again, or is beyond what is
			// read at all: there is nothing to run.
			s.Log.Warn("push without a readable commit", "repo", push.Repo, "ref", u.Ref, "error", err)
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, runs...)
	}
	return out, nil
}

func (s *Service) planUpdate(ctx context.Context, eventID string, push event.Push, u event.RefUpdate) ([]planned, error) {
	files, err := s.Source.ListFiles(ctx, push.Repo, u.After, workflowDir)
	if err != nil || len(files) == 0 {
		return nil, err
	}
	head, err := s.Source.Commit(ctx, push.Repo, u.After)
	if err != nil {
		return nil, err
	}
	if skipped(head.Message) {
		s.Log.Info("commit message asks for no runs", "repo", push.Repo, "ref", u.Ref)
		return nil, nil
	}
	branch, err := s.Source.DefaultBranch(ctx, push.Repo)
	if err != nil {
		return nil, err
	}
	payload := s.pushPayload(push, u, head, branch)
	sort.Strings(files)
	change := workflow.Change{Ref: u.Ref}
	pathsRead := false
	var out []planned
	for _, name := range files {
		if ext := path.Ext(name); ext != ".yml" && ext != ".yaml" {
			continue
		}
		if len(out) == maxWorkflows {
			s.Log.Warn("more workflows than a push may start", "repo", push.Repo, "limit", maxWorkflows)
			break
		}
		file := path.Join(workflowDir, name)
		src, err := s.Source.ReadFile(ctx, push.Repo, u.After, file)
		if err != nil && !errors.Is(err, problem.ErrInvalid) {
			return nil, err
		}
		w, findings := workflow.Parse(file, src)
		if err != nil { // larger than is read at all
			w, findings = nil, []workflow.Finding{{Path: file, Message: err.Error()}}
		}
		if w != nil && w.On.Push.NeedsPaths() && !pathsRead {
			if change.Paths, change.Known, err = s.paths(ctx, push.Repo, u); err != nil {
				return nil, err
			}
			pathsRead = true
		}
		if w != nil && !w.On.Push.Matches(change) {
			continue
		}
		out = append(out, s.newRun(eventID, push, u, head, payload, file, src, w, findings))
	}
	return out, nil
}

// paths lists what the update changed.
func (s *Service) paths(ctx context.Context, repo string, u event.RefUpdate) ([]string, bool, error) {
	if u.Before == event.ZeroCommit {
		return nil, false, nil
	}
	paths, err := s.Source.ChangedPaths(ctx, repo, u.Before, u.After)
	if errors.Is(err, problem.ErrNotFound) || errors.Is(err, problem.ErrInvalid) { // gone, or too many
		return nil, false, nil
	}
	return paths, err == nil, err
}

// newRun describes one run. A file with faults gives a run that has failed, so
// that the person who pushed it sees why nothing runs.
func (s *Service) newRun(eventID string, push event.Push, u event.RefUpdate, head Commit, payload *expr.Object, file string, src []byte, w *workflow.Workflow, findings []workflow.Finding) planned {
	title, _, _ := strings.Cut(strings.TrimSpace(head.Message), "\n")
	p := planned{eventID: eventID, source: string(src), workflow: w, Run: Run{
		Repo: push.Repo, WorkflowPath: file, Workflow: file, Title: title, Event: "push", Ref: u.Ref, SHA: head.Hash, Actor: push.Actor,
		Status: Queued, CreatedAt: s.Now(),
	}}
	var lines []string
	for _, f := range findings {
		lines = append(lines, f.String())
	}
	p.Message = strings.Join(lines, "\n")
	if w == nil {
		p.Status, p.Conclusion = Completed, startupFailure
		p.StartedAt, p.FinishedAt = p.CreatedAt, p.CreatedAt
	} else {
		p.Workflow = w.Name
	}
	p.github = s.githubContext(push, u, payload, p.Run)
	if w != nil && !w.RunName.Empty() {
		if t, err := expr.ParseTemplate(w.RunName.Value, workflow.RunNameScope); err == nil {
			if v, err := t.Evaluate(expr.Env{Values: map[string]expr.Value{"github": p.github, "vars": expr.NewObject(), "inputs": expr.NewObject()}}); err == nil && expr.String(v) != "" {
				p.Title = expr.String(v)
			}
		}
	}
	return p
}

// skipTokens in a commit message keep a push from starting runs.
var skipTokens = []string{"[skip ci]", "[ci skip]", "[no ci]", "[skip actions]", "[actions skip]"}

func skipped(message string) bool {
	for _, t := range skipTokens {
		if strings.Contains(message, t) {
			return true
		}
	}
	// The trailer stands alone at the end, after two empty lines or with others.
	blocks := strings.Split(strings.TrimSpace(message), "\n\n")
	for _, line := range strings.Split(blocks[len(blocks)-1], "\n") {
		if v, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(line)), "skip-checks:"); ok && len(blocks) > 1 && strings.TrimSpace(v) == "true" {
			return true
		}
	}
	return false
}
