package runs_test

import "testing"

func TestPassed(t *testing.T) {
	h := newHouse(t)
	h.push("checks", map[string]string{".github/workflows/ci.yaml": `
name: CI
on: push
jobs:
  good: {runs-on: ubuntu-latest, name: Good one, steps: [{run: "true"}]}
  bad: {runs-on: ubuntu-latest, steps: [{run: exit 1}]}
  skipped: {runs-on: ubuntu-latest, if: false, steps: [{run: "true"}]}
`})
	run := h.wait(1)
	for check, want := range map[string]bool{"Good one": true, "CI / Good one": true, "good": false, "bad": false, "CI / bad": false, "skipped": true, "Other / Good one": false, "": false} {
		if got, err := h.service.Passed(t.Context(), run.Repo, run.SHA, check); got != want || err != nil {
			t.Errorf("%q: %v %v", check, got, err)
		}
	}
	if got, err := h.service.Passed(t.Context(), run.Repo, "0000000000000000000000000000000000000000", "Good one"); got || err != nil {
		t.Errorf("another commit: %v %v", got, err)
	}
	if got, err := h.service.Passed(t.Context(), "other/repo", run.SHA, "Good one"); got || err != nil {
		t.Errorf("another repository: %v %v", got, err)
	}
}
