package live

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(s float64) time.Time { return t0.Add(time.Duration(s * float64(time.Second))) }

func scene() []Item {
	return []Item{
		{State: "passed", Name: "push", Detail: "demo/shop", Began: at(0), Ended: at(0.25)},
		{State: "running", Name: "run 1", Began: at(0.25)},
		{Depth: 1, State: "passed", Name: "test", Began: at(0.5), Ended: at(20)},
		{Depth: 2, State: "passed", Name: "Unit tests", Began: at(0.5), Ended: at(19)},
		{Depth: 1, State: "running", Name: "image", Began: at(20)},
		{Depth: 2, State: "running", Name: "Build the program", Began: at(20)},
		{Depth: 1, State: "queued", Name: "deploy"},
		{Depth: 2, State: "queued", Name: "Deploy to dev"},
	}
}

func TestLayout(t *testing.T) {
	for _, c := range []struct {
		name          string
		width, height int
		want          string
	}{
		{"room enough", 80, 30, `
✓ passed    push  demo/shop  0.2s
● running   run 1  20.8s
  ✓ passed    test  19.5s
  ● running   image  1.0s
    ● running   Build the program  1.0s
  ○ queued    deploy`},
		{"narrow", 20, 30, `
✓ passed    push  d…
● running   run 1  …
  ✓ passed    test …
  ● running   image…
    ● running   Bui…
  ○ queued    deploy`},
		{"low", 80, 3, `
(4 lines above)
    ● running   Build the program  1.0s
  ○ queued    deploy`},
	} {
		got := "\n" + strings.Join(layout(scene(), at(21), c.width, c.height, false), "\n")
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
}

func TestPlainViewSaysEachChangeOnce(t *testing.T) {
	var out bytes.Buffer
	v := &plainView{out: &out, ascii: true, now: func() time.Time { return at(21) }, began: t0, said: map[string]string{}}
	items := scene()
	v.Update(items)
	v.Update(items)
	items[4].State, items[4].Ended = "failed", at(21)
	v.Update(items)
	want := `  21.0s  passed    push  demo/shop  0.2s
  21.0s  running   run 1  20.8s
  21.0s    passed    test  19.5s
  21.0s      passed    Unit tests  18.5s
  21.0s    running   image  1.0s
  21.0s      running   Build the program  1.0s
  21.0s    failed    image  1.0s
`
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestLiveViewEndsWithTheLastState(t *testing.T) {
	var out bytes.Buffer
	v := NewLiveView(&out, false, func() (int, int) { return 80, 24 })
	items := scene()
	v.Update(items)
	items[1].State, items[1].Ended = "failed", at(30)
	v.Update(items)
	v.Close()
	frames := strings.Split(out.String(), "\x1b[J")
	last := strings.ReplaceAll(frames[len(frames)-2], "\x1b[K", "")
	if !strings.Contains(last, "✗ failed    run 1  29.8s\n") {
		t.Errorf("last frame:\n%s", last)
	}
	if !strings.HasPrefix(last, "\x1b[6A") {
		t.Errorf("the last frame does not replace the 6 lines of the one before: %q", last[:8])
	}
}

func TestWhereThereIsOnlyASCII(t *testing.T) {
	for _, c := range []struct {
		env  string
		want bool
	}{
		{"", true},
		{"LANG=C", false},
		{"LANG=POSIX", false},
		{"LANG=en_US.UTF-8", true},
		{"LANG=de_DE.utf8 TERM=xterm", true},
		{"LANG=en_US.UTF-8 LC_ALL=C", false},
		{"LANG=C LC_CTYPE=C.UTF-8", true},
		{"LANG=en_US.UTF-8 TERM=dumb", false},
	} {
		env := map[string]string{}
		for _, kv := range strings.Fields(c.env) {
			k, v, _ := strings.Cut(kv, "=")
			env[k] = v
		}
		if got := unicode(func(k string) string { return env[k] }); got != c.want {
			t.Errorf("%q: unicode %v", c.env, got)
		}
	}
	for _, width := range []int{80, 20} {
		for _, line := range layout(scene(), at(21), width, 4, true) {
			if i := strings.IndexFunc(line, func(r rune) bool { return r > 126 || r < 32 }); i >= 0 {
				t.Errorf("width %d: %q is not ASCII", width, line)
			}
		}
	}
}
