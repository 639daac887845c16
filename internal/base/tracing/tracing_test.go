package tracing

import (
	"testing"
	"time"
)

func TestNamesAreStableAndDifferent(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	run := Run("demo/shop", 7, at)
	// The ids are a contract with what has been exported already.
	if got, want := run.Parent(), "00-0d9d84c10e22b56b177eaf1a666dc152-7598a34042795fc3-01"; got != want {
		t.Errorf("run: %s, was %s", got, want)
	}
	if run != Run("demo/shop", 7, at.In(time.FixedZone("x", 3600))) {
		t.Error("the zone of a time changes the name")
	}
	job := Job(run, "test")
	all := map[string]string{}
	for name, c := range map[string]Context{
		"run": run, "other run": Run("demo/shop", 8, at), "other time": Run("demo/shop", 7, at.Add(1)), "other repo": Run("demo/shop2", 7, at),
		"job": job, "other job": Job(run, "build"), "step 1": Step(job, 1), "step 2": Step(job, 2), "step of other": Step(Job(run, "build"), 1),
		"push": Push("demo/shop", "abc"), "sync": Sync("uid", at),
	} {
		if other, taken := all[c.Parent()]; taken {
			t.Errorf("%s and %s have one name", name, other)
		}
		all[c.Parent()] = name
	}
	if job.Trace != run.Trace || Step(job, 1).Trace != run.Trace {
		t.Error("a job or step has left the trace of its run")
	}
}

func TestParent(t *testing.T) {
	c := Run("a/b", 1, time.Unix(0, 0))
	if got, ok := ParseParent(c.Parent()); !ok || got != c {
		t.Errorf("%v, %v", got, ok)
	}
}

func FuzzParseParent(f *testing.F) {
	f.Add(Run("a/b", 1, time.Unix(0, 0)).Parent())
	f.Add("00-00000000000000000000000000000000-0000000000000000-01")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		if c, ok := ParseParent(s); ok && c.Parent() != s {
			t.Errorf("%q was read as %q", s, c.Parent())
		}
	})
}
