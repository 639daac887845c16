package engine_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/ci/engine"
	"github.com/penstock-dev/penstock/internal/ci/expr"
	"github.com/penstock-dev/penstock/internal/ci/workflow"
)

// parse reads jobs written as "id: needs | if | keys", one a line.
func parse(t *testing.T, jobs string) *workflow.Workflow {
	t.Helper()
	var b strings.Builder
	b.WriteString("on: push\njobs:\n")
	for _, line := range strings.Split(strings.TrimSpace(jobs), "\n") {
		id, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		f := append(strings.Split(rest, "|"), "", "", "")
		fmt.Fprintf(&b, "  %s:\n    runs-on: ubuntu-latest\n    steps: [{run: x}]\n    outputs: {o: '${{ steps.x.outputs.o }}'}\n", id)
		if n := strings.TrimSpace(f[0]); n != "" {
			fmt.Fprintf(&b, "    needs: [%s]\n", n)
		}
		if c := strings.TrimSpace(f[1]); c != "" {
			fmt.Fprintf(&b, "    if: %q\n", c)
		}
		if k := strings.TrimSpace(f[2]); k != "" {
			fmt.Fprintf(&b, "    %s\n", k)
		}
	}
	w, findings := workflow.Parse("f.yml", []byte(b.String()))
	if w == nil {
		t.Fatalf("%v\n%s", findings, b.String())
	}
	return w
}

// state reads "a=success b=running c=failure!": ! is a tolerated failure.
func state(w *workflow.Workflow, text string) engine.State {
	github := expr.NewObject()
	github.Set("ref", "refs/heads/main")
	s := engine.State{Workflow: w, Jobs: map[string]engine.JobState{}, Values: map[string]expr.Value{"github": github}}
	for _, kv := range strings.Fields(text) {
		id, v, ok := strings.Cut(kv, "=")
		if !ok {
			s.Cancelled = id == "cancelled"
			continue
		}
		j := engine.JobState{Started: true, Outputs: map[string]string{"o": "out-" + id}}
		if v != "running" {
			j.Result = engine.Result(strings.TrimSuffix(v, "!"))
			j.ContinueOnError = strings.HasSuffix(v, "!")
		}
		s.Jobs[id] = j
	}
	return s
}

func show(actions []engine.Action) string {
	var out []string
	for _, a := range actions {
		switch a.Kind {
		case engine.Start:
			out = append(out, "start "+a.JobID)
		case engine.End:
			out = append(out, string(a.Result)+" "+a.JobID)
		case engine.Finish:
			out = append(out, "finish "+string(a.Result))
		}
	}
	return strings.Join(out, ", ")
}

func TestNext(t *testing.T) {
	const chain = "a:\nb: a\nc: b"
	for _, tc := range []struct{ name, jobs, state, want string }{
		{"all roots start", "a:\nb:\nc: a", "", "start a, start b"},
		{"nothing new", chain, "a=running", ""},
		{"next in line", chain, "a=success", "start b"},
		{"diamond waits for both", "a:\nb: a\nc: a\nd: b, c", "a=success b=success c=running", ""},
		{"diamond goes on", "a:\nb: a\nc: a\nd: b, c", "a=success b=success c=success", "start d"},
		{"failure skips everything behind it", chain, "a=failure", "skipped b, skipped c, finish failure"},
		{"other branches go on", "a:\nb: a\nc:\nd: c", "a=failure c=success", "skipped b, start d"},
		{"always runs after a failure", "a:\nb: a | always()", "a=failure", "start b"},
		{"failure() runs after a failure", "a:\nb: a | failure()", "a=failure", "start b"},
		{"failure() does not run after success", "a:\nb: a | failure()", "a=success", "skipped b, finish success"},
		{"failure() looks at all ancestors", "a:\nb: a\nc: b | failure()", "a=failure b=skipped", "start c"},
		{"success() is poisoned by a skipped ancestor", "a: | false\nb: a | always()\nc: b", "a=skipped b=success", "skipped c, finish success"},
		{"an if of its own keeps success()", "a:\nb: a | github.ref == 'refs/heads/main'", "a=failure", "skipped b, finish failure"},
		{"named needs", "a:\nb:\nc: a, b | success('a')", "a=success b=failure", "start c"},
		{"failure of a named need", "a:\nb:\nc: a, b | failure('b')", "a=success b=failure", "start c"},
		{"a name that is no need fails the job", "a:\nb:\nc: a | success('b')", "a=success b=success", "failure c, finish failure"},
		{"needs results", "a:\nb: a | always() && needs.a.result == 'failure'", "a=failure", "start b"},
		{"needs outputs", "a:\nb: a | needs.a.outputs.o == 'out-a'", "a=success", "start b"},
		{"tolerated failure counts as success", "a:\nb: a", "a=failure!", "start b"},
		{"tolerated failure does not fail the run", "a:\nb: a", "a=failure! b=success", "finish success"},
		{"only a tolerated failure", "a:", "a=failure!", "finish success"},
		{"all skipped", "a: | false\nb: a", "", "skipped a, skipped b, finish skipped"},
		{"cancelled before anything ran", chain, "cancelled", "cancelled a, cancelled b, cancelled c, finish cancelled"},
		{"cancelled while a runs", chain, "cancelled a=running", ""},
		{"always runs when cancelled", "a:\nb: a | always()\nc: a", "cancelled a=cancelled", "start b, cancelled c"},
		{"cancelled() runs when cancelled", "a:\nb: a | cancelled()", "cancelled a=cancelled", "start b"},
		{"failure wins over cancelled", "a:\nb:", "a=failure b=cancelled", "finish failure"},
		{"bad expression fails the job", "a: | fromJSON('[')\nb: a", "", "failure a, skipped b, finish failure"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := state(parse(t, tc.jobs), tc.state)
			actions := engine.Next(s)
			if got := show(actions); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			for _, a := range actions {
				if a.Kind == engine.End && a.Reason == "" {
					t.Errorf("%s ends without a reason", a.JobID)
				}
			}
		})
	}
}

func TestStartEvaluatesTheJob(t *testing.T) {
	w := parse(t, "a:\nb: a | | name: 'after ${{ needs.a.outputs.o }}'\nc: a | | timeout-minutes: ${{ fromJSON('1.5') }}\nd: a | | continue-on-error: ${{ needs.a.result == 'success' }}\ne: a | | timeout-minutes: ${{ needs.a.outputs.o }}")
	got := map[string]engine.Action{}
	for _, a := range engine.Next(state(w, "a=success")) {
		got[a.JobID] = a
	}
	if d := cmp.Diff("after out-a", got["b"].Job.Name); d != "" {
		t.Error(d)
	}
	if m := got["c"].Job.TimeoutMinutes; m != 1.5 {
		t.Errorf("timeout %v", m)
	}
	if m := got["b"].Job.TimeoutMinutes; m != engine.DefaultTimeoutMinutes {
		t.Errorf("default timeout %v", m)
	}
	if !got["d"].Job.ContinueOnError || got["c"].Job.ContinueOnError {
		t.Error("continue-on-error")
	}
	if e := got["e"]; e.Kind != engine.End || e.Result != engine.Failure || !strings.Contains(e.Reason, "timeout-minutes: 'out-a' is not a number") {
		t.Errorf("bad timeout: %+v", e)
	}
	if got["b"].Job.Labels[0] != "ubuntu-latest" {
		t.Errorf("labels %v", got["b"].Job.Labels)
	}
}

// TestEveryRunEnds plays random workflows to their end: every job ends once,
// the run ends last and only once.
func TestEveryRunEnds(t *testing.T) {
	for seed := range 200 {
		n := seed%7 + 1
		var jobs []string
		for i := range n {
			var needs []string
			for j := range i {
				if (seed>>j+i)%3 == 0 {
					needs = append(needs, fmt.Sprint("j", j))
				}
			}
			cond := []string{"", "always()", "failure()", "cancelled()", "success()"}[(seed+i)%5]
			jobs = append(jobs, fmt.Sprintf("j%d: %s | %s", i, strings.Join(needs, ", "), cond))
		}
		w := parse(t, strings.Join(jobs, "\n"))
		s := state(w, "")
		for round := 0; ; round++ {
			if round > 3*n+3 {
				t.Fatalf("seed %d does not end:\n%s", seed, strings.Join(jobs, "\n"))
			}
			finished := false
			for _, a := range engine.Next(s) {
				switch a.Kind {
				case engine.Start:
					if s.Jobs[a.JobID].Started {
						t.Fatalf("seed %d: %s started twice", seed, a.JobID)
					}
					s.Jobs[a.JobID] = engine.JobState{Started: true}
				case engine.End:
					s.Jobs[a.JobID] = engine.JobState{Result: a.Result}
				case engine.Finish:
					finished = true
				}
			}
			running := ""
			for id, j := range s.Jobs {
				if j.Started && j.Result == "" && id > running {
					running = id
				}
			}
			if finished {
				if running != "" || len(s.Jobs) != n {
					t.Fatalf("seed %d: finished while %s runs, %d of %d jobs ended", seed, running, len(s.Jobs), n)
				}
				break
			}
			j := s.Jobs[running]
			j.Result = []engine.Result{engine.Success, engine.Failure}[(seed>>round)%2]
			s.Jobs[running] = j
			s.Cancelled = s.Cancelled || seed%11 == 0 && round == 1
		}
	}
}
