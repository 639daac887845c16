package expr_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/ci/expr"
)

// corpusSize is the number of cases in testdata; a lost file must not pass.
const corpusSize = 1020

func TestCorpus(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var groups map[string][]corpusCase
		if err := json.Unmarshal(b, &groups); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for group, cases := range groups {
			for _, c := range cases {
				count++
				t.Run(strings.TrimSuffix(filepath.Base(file), ".json")+"/"+group, c.run)
			}
		}
	}
	if count != corpusSize {
		t.Errorf("ran %d cases, the corpus has %d", count, corpusSize)
	}
}

type corpusCase struct {
	Expr     string          `json:"expr"`
	Contexts json.RawMessage `json:"contexts"`
	Result   *struct {
		Kind  string `json:"kind"`
		Value any    `json:"value"`
	} `json:"result"`
	Err *struct {
		Kind  expr.Stage `json:"kind"`
		Value string     `json:"value"`
	} `json:"err"`
}

func (c corpusCase) run(t *testing.T) {
	env := expr.Env{Values: map[string]expr.Value{}}
	var scope expr.Scope
	if c.Contexts != nil {
		v, err := expr.FromJSON(string(c.Contexts))
		if err != nil {
			t.Fatal(err)
		}
		v.(*expr.Object).Each(func(k string, v expr.Value) {
			scope.Values = append(scope.Values, k)
			env.Values[strings.ToLower(k)] = v
		})
	}
	var got expr.Value
	e, err := expr.Parse(c.Expr, scope)
	if err == nil {
		got, err = e.Evaluate(env)
	}
	if c.Err != nil {
		var is *expr.Error
		if !errors.As(err, &is) || is.Stage != c.Err.Kind || !strings.Contains(is.Error(), c.Err.Value) {
			t.Errorf("%s\n got error %v (value %v)\nwant %s error %q", c.Expr, err, got, c.Err.Kind, c.Err.Value)
		}
		return
	}
	if err != nil {
		t.Errorf("%s: %v", c.Expr, err)
		return
	}
	if k := expr.Kind(got); k != c.Result.Kind {
		t.Errorf("%s: got a %s, want a %s", c.Expr, k, c.Result.Kind)
	}
	var plain any
	if err := json.Unmarshal([]byte(expr.ToJSON(got)), &plain); err != nil {
		t.Fatalf("%s: %v", c.Expr, err)
	}
	if d := cmp.Diff(c.Result.Value, plain); d != "" {
		t.Errorf("%s (-want +got):\n%s", c.Expr, d)
	}
}
