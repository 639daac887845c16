package workflow_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/internal/ci/workflow"
)

// corpusSize is the number of GitHub's parser cases in testdata/reader (MIT).
const corpusSize = 195

// otherVerdict lists the cases where this parser judges otherwise, each with
// the reason.
var otherVerdict = map[string]string{
	"errors-anchor-tag.yml":                                 "dated: GitHub has anchors since 2025",
	"errors-max-depth.yml":                                  "sets a limit of its own: 5 levels",
	"errors-max-file-size.yml":                              "sets a limit of its own: 124 characters",
	"errors-max-result-size.yml":                            "sets a limit of its own, of a size only that parser knows",
	"errors-on-workflow_call-input-type-missing.yml":        "the configuration of events that nothing raises yet is not looked at, which a warning says",
	"errors-on-workflow_call-input-unexpected-property.yml": "likewise",
	"errors-on-workflow_call-output.yml":                    "likewise",
	"events-single-invalid.yml":                             "likewise; GitHub itself accepts the same input in on-workflow_dispatch-unknown-keys-ignored.yml",
	"events-mapping-all.yml":                                "has both branches and branches-ignore, which GitHub refuses outside of this parser",
}

// TestCorpus checks the verdict on every case: what GitHub refuses is refused,
// and what it accepts is accepted or uses something that is not served yet and
// said to be so, never taken for a mistake.
func TestCorpus(t *testing.T) {
	files, err := filepath.Glob("testdata/reader/*.yml")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != corpusSize {
		t.Errorf("found %d cases, the corpus has %d", len(files), corpusSize)
	}
	accepted := 0
	split := regexp.MustCompile(`\r?\n---\r?\n`)
	for _, file := range files {
		name := filepath.Base(file)
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		docs := split.Split(string(b), -1)
		valid := !strings.Contains(docs[len(docs)-1], `"errors"`)
		w, findings := workflow.Parse(".github/workflows/"+name, []byte(docs[1]))
		if w != nil {
			accepted++
		}
		agrees := valid == (w != nil)
		if valid && w == nil {
			agrees = true
			for _, f := range findings {
				agrees = agrees && (f.Warning || strings.Contains(f.Message, "not supported yet"))
			}
		}
		if _, ok := otherVerdict[name]; ok == agrees {
			t.Errorf("%s: GitHub accepts it: %v; agrees: %v, listed as other verdict: %v\n%v", name, valid, agrees, ok, findings)
		}
	}
	t.Logf("%d of %d cases accepted", accepted, len(files))
}
