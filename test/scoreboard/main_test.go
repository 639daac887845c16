package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const report = `{"Action":"run","Test":"TestCorpus"}
{"Action":"output","Test":"TestCorpus/b/x","Output":"=== RUN   TestCorpus/b/x\n"}
{"Action":"output","Test":"TestCorpus/b/x","Output":"    file.go:7: got 1\n"}
{"Action":"output","Test":"TestCorpus/b/x","Output":"\twant 2\n"}
{"Action":"fail","Test":"TestCorpus/b/x"}
{"Action":"pass","Test":"TestCorpus/a"}
{"Action":"output","Test":"TestCorpus/c","Output":"    file.go:9: needs a network\n"}
{"Action":"skip","Test":"TestCorpus/c"}
{"Action":"fail","Test":"TestCorpus/b"}
{"Action":"fail","Test":"TestCorpus"}
{"Action":"fail"}
`

func TestRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "board.tsv")
	now := time.Date(2026, 5, 6, 23, 0, 0, 0, time.UTC)
	if err := run(strings.NewReader(report), io.Discard, file, "c0ffee", now); err == nil {
		t.Error("a suite with a failed case succeeded")
	}
	want := `case	result	reason	commit	date
TestCorpus/a	pass		c0ffee	2026-05-06
TestCorpus/b/x	fail	file.go:7: got 1 want 2	c0ffee	2026-05-06
TestCorpus/c	skip	file.go:9: needs a network	c0ffee	2026-05-06
`
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for name, in := range map[string]string{"no case": `{"Action":"pass"}`, "not json": "ok\n"} {
		if err := run(strings.NewReader(in), io.Discard, "", "", now); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := run(strings.NewReader(`{"Action":"pass","Test":"TestA"}`), io.Discard, "", "", now); err != nil {
		t.Error(err)
	}
}
