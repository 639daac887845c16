// Command scoreboard turns what `go test -json` reports about a suite into a
// table of its cases: case, result, reason, commit, date.
//
//	go test -json -run TestCorpus ./internal/ci/expr | go run ./test/scoreboard -o test/scoreboards/expressions.tsv
//
// It leaves with 1 when a case failed or when there was none.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/base/atomicfile"
)

func main() {
	out := flag.String("o", "", "`file` to write the table to")
	commit := flag.String("commit", "unknown", "the commit that was tested")
	flag.Parse()
	if err := run(os.Stdin, os.Stderr, *out, *commit, time.Now()); err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

// result of one case.
type result struct{ name, outcome, reason string }

func run(in io.Reader, log io.Writer, file, commit string, now time.Time) error {
	results, err := read(in)
	if err != nil {
		return err
	}
	if len(results) == 0 {
		return errors.New("no cases: the suite did not run")
	}
	if file != "" {
		if err := atomicfile.Write(file, table(results, commit, now), 0o644); err != nil {
			return fmt.Errorf("write scoreboard: %w", err)
		}
	}
	count := map[string]int{}
	for _, r := range results {
		count[r.outcome]++
		if r.outcome == "fail" {
			fmt.Fprintf(log, "FAIL %s: %s\n", r.name, r.reason)
		}
	}
	fmt.Fprintf(log, "%s: %d pass, %d fail, %d skip of %d\n", file, count["pass"], count["fail"], count["skip"], len(results))
	if count["fail"] > 0 {
		return fmt.Errorf("%d cases failed", count["fail"])
	}
	return nil
}

// read returns the cases in order of their names. A case is a test without
// subtests; a test with subtests is a group.
func read(in io.Reader) ([]result, error) {
	byName := map[string]*result{}
	said := map[string]string{}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e struct{ Action, Test, Output string }
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("read go test -json: %w", err)
		}
		switch {
		case e.Test == "":
		case e.Action == "output" && !strings.HasPrefix(strings.TrimSpace(e.Output), "=== ") && !strings.HasPrefix(strings.TrimSpace(e.Output), "--- "):
			said[e.Test] += e.Output
		case e.Action == "pass", e.Action == "fail", e.Action == "skip":
			byName[e.Test] = &result{name: e.Test, outcome: e.Action}
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read go test -json: %w", err)
	}
	groups := map[string]bool{}
	for name := range byName {
		for i, c := range name {
			if c == '/' {
				groups[name[:i]] = true
			}
		}
	}
	var all []result
	for name, r := range byName {
		if groups[name] {
			continue
		}
		if r.outcome != "pass" {
			r.reason = strings.Join(strings.Fields(said[name]), " ")
		}
		all = append(all, *r)
	}
	slices.SortFunc(all, func(a, b result) int { return strings.Compare(a.name, b.name) })
	return all, nil
}

func table(results []result, commit string, now time.Time) []byte {
	var b strings.Builder
	b.WriteString("case\tresult\treason\tcommit\tdate\n")
	for _, r := range results {
		fmt.Fprintf(&b, "%s\t%s\t%s\t%s\t%s\n", r.name, r.outcome, r.reason, commit, now.UTC().Format(time.DateOnly))
	}
	return []byte(b.String())
}
