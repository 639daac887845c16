package sync

import (
	"fmt"
	"strings"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/gitops/compare"
	"github.com/penstock-dev/penstock/internal/gitops/health"
)

// Result is what was done to one object.
type Result struct {
	Status  string // Synced, SyncFailed, Pruned, PruneSkipped
	Message string
	Phase   string // Running, Succeeded, Failed
}

// Seen is what the cluster has of an object now.
type Seen struct {
	Exists bool
	Health health.Health // no status: the kind has no health
}

// Action is what to do now: exactly one of the fields is set.
type Action struct {
	Run  []Task // the tasks of the next wave
	Wait string // why nothing can be done yet
	Done string // the final phase; Message says why
	// Message belongs to Done.
	Message string
}

// Next decides what to do, and brings the phases of results up to date with
// what is seen. It has no side effects but on results.
func Next(tasks []Task, results map[compare.Key]Result, see func(compare.Key) Seen) Action {
	if failed := failures(tasks, results); len(failed) > 0 {
		return Action{Done: v1alpha1.PhaseFailed, Message: "one or more objects failed to apply, reason: " + strings.Join(failed, "; ")}
	}
	pending := -1
	for i, t := range tasks {
		if _, done := results[t.Key]; !done {
			pending = i
			break
		}
	}
	if pending < 0 {
		return Action{Done: v1alpha1.PhaseSucceeded, Message: "successfully synced (all tasks run)"}
	}
	wave := tasks[pending].Wave
	var waits, sick []string
	for _, t := range tasks {
		r, done := results[t.Key]
		if !done || t.Wave >= wave || r.Phase != v1alpha1.PhaseRunning {
			continue
		}
		seen := see(t.Key)
		switch phase := settle(t, seen); phase {
		case v1alpha1.PhaseRunning:
			waits = append(waits, waiting(t))
		case v1alpha1.PhaseFailed:
			r.Phase = phase
			r.Message = orElse(seen.Health.Message, orElse(seen.Health.Status, "is gone"))
			results[t.Key] = r
			sick = append(sick, fmt.Sprintf("%s: %s", t.Key, r.Message))
		default:
			r.Phase = phase
			results[t.Key] = r
		}
	}
	switch {
	case len(sick) > 0:
		return Action{Done: v1alpha1.PhaseFailed, Message: "one or more objects did not become healthy, reason: " + strings.Join(sick, "; ")}
	case len(waits) > 0:
		return Action{Wait: firstFew(waits)}
	}
	var run []Task
	for _, t := range tasks[pending:] {
		if _, done := results[t.Key]; !done && t.Wave == wave {
			run = append(run, t)
		}
	}
	return Action{Run: run}
}

// failures says which objects could not be written or did not get well.
func failures(tasks []Task, results map[compare.Key]Result) []string {
	var out []string
	for _, t := range tasks {
		if r := results[t.Key]; r.Status == v1alpha1.ResultSyncFailed || r.Phase == v1alpha1.PhaseFailed {
			out = append(out, fmt.Sprintf("%s: %s", t.Key, orElse(r.Message, "failed")))
		}
	}
	return out
}

// settle says how a task stands whose object is seen so.
func settle(t Task, s Seen) string {
	if t.Prune() {
		if s.Exists {
			return v1alpha1.PhaseRunning
		}
		return v1alpha1.PhaseSucceeded
	}
	switch {
	case !s.Exists, s.Health.Status == v1alpha1.HealthDegraded:
		return v1alpha1.PhaseFailed
	case s.Health.Status == "", s.Health.Status == v1alpha1.HealthHealthy:
		return v1alpha1.PhaseSucceeded
	}
	return v1alpha1.PhaseRunning
}

func waiting(t Task) string {
	if t.Prune() {
		return "waiting for deletion of " + t.String()
	}
	return "waiting for healthy state of " + t.String()
}

func firstFew(s []string) string {
	const few = 3
	if len(s) > few {
		return fmt.Sprintf("%s and %d more", strings.Join(s[:few], ", "), len(s)-few)
	}
	return strings.Join(s, ", ")
}

func orElse(s, def string) string {
	if s == "" {
		return def
	}
	return s
}
