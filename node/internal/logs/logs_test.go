package logs

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func newHeld() (*ring, *slog.Logger, *bytes.Buffer) {
	var out bytes.Buffer
	h := slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	r := &ring{holding: true}
	return r, slog.New(&held{r, quiet{h}}), &out
}

func TestHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, l, out := newHeld()
		l.Error("while it starts")
		r.settle()
		time.Sleep(settling / 2)
		l.With("a", 1).Error("just after")
		if out.Len() != 0 {
			t.Errorf("a start that works says %q", out)
		}
		time.Sleep(settling)
		l.Info("chatter")
		l.Warn("later")
		if got := out.String(); got != "level=WARN msg=later\n" {
			t.Errorf("got %q", got)
		}
		r.hold()
		l.Error("while it stops")
		if strings.Contains(out.String(), "stops") {
			t.Errorf("got %q", out)
		}
	})
}

func TestReplay(t *testing.T) {
	r, l, out := newHeld()
	for i := range keep + 5 {
		l.With("i", i).Error("failed", "err", errors.New("x"))
	}
	r.replay()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != keep || lines[0] != "level=ERROR msg=failed i=5 err=x" {
		t.Errorf("%d lines, the first %q", len(lines), lines[0])
	}
	l.Error("after")
	if !strings.HasSuffix(out.String(), "msg=after\n") {
		t.Errorf("what comes after a replay is held")
	}
}

func TestQuiet(t *testing.T) {
	var out bytes.Buffer
	l := Quiet(slog.New(slog.NewTextHandler(&out, nil)))
	l.Info("started controller")
	l.Error("The manifest file is empty, ignoring.") //nolint:sloglint // upstream's words
	l.Error("real")
	if n := strings.Count(out.String(), "\n"); n != 1 || !strings.Contains(out.String(), "msg=real") {
		t.Errorf("got %q", &out)
	}
}

func TestStandard(t *testing.T) {
	var out bytes.Buffer
	w := standard{slog.New(slog.NewTextHandler(&out, nil))}
	for _, line := range []string{"[INFO] Reloading\n", "[ERROR] plugin/errors: 2 x. A: timeout\n", "[WARNING] no hosts\n"} {
		if n, err := fmt.Fprint(w, line); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
	}
	got := out.String()
	if strings.Contains(got, "Reloading") || !strings.Contains(got, `level=ERROR msg="plugin/errors: 2 x. A: timeout"`) || !strings.Contains(got, `level=WARN msg="no hosts"`) {
		t.Errorf("got %q", got)
	}
}
