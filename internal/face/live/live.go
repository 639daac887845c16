// Package live shows what is going on as a tree of items: redrawn in place on a
// terminal, as lines that only get more everywhere else. An item's state is a
// word of package mark, and its shape stands beside the word.
package live

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/penstock-dev/penstock/internal/face/mark"
)

// Item is one line of what is going on.
type Item struct {
	Depth  int
	State  string // a word of package mark
	Name   string
	Detail string
	Began  time.Time // zero: not yet
	Ended  time.Time // zero: still going on
}

// View shows items. Update replaces all of them; Close leaves the last state
// on the screen and lets others print again.
type View interface {
	Update(items []Item)
	Close()
}

// took is how long an item has been going on at now.
func (i Item) took(now time.Time) string {
	switch {
	case i.Began.IsZero():
		return ""
	case !i.Ended.IsZero():
		now = i.Ended
	}
	return seconds(now.Sub(i.Began))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", max(0, d).Seconds()) }

// text is the item as one line.
func (i Item) text(now time.Time, ascii bool) string {
	var b strings.Builder
	b.WriteString(strings.Repeat("  ", i.Depth))
	if !ascii {
		b.WriteString(mark.Of(i.State) + " ")
	}
	fmt.Fprintf(&b, "%-9s %s", i.State, i.Name)
	if i.Detail != "" {
		b.WriteString("  " + i.Detail)
	}
	if t := i.took(now); t != "" {
		b.WriteString("  " + t)
	}
	return b.String()
}

// New returns a view on out: a live one when out is a terminal that a person
// reads, else a plain one. plain asks for lines without shapes.
//
// Where the locale has no UTF-8 (LANG=C) or the terminal can do nothing
// (TERM=dumb), the words stand alone: no shape, nothing that is not ASCII.
func New(out io.Writer, plain bool) View {
	ascii := plain || !unicode(os.Getenv)
	if plain || !Terminal(out) {
		return NewPlainView(out, ascii)
	}
	fd := int(out.(*os.File).Fd())
	return NewLiveView(out, ascii, func() (int, int) {
		w, h, err := term.GetSize(fd)
		if err != nil {
			return 80, 24
		}
		return w, h
	})
}

// unicode says whether the environment can show more than ASCII. As in the C
// library, the first variable that is set counts; when none is, we take what is
// usual: a pipe or a service without a locale is read by programs and modern
// terminals.
func unicode(getenv func(string) string) bool {
	if getenv("TERM") == "dumb" {
		return false
	}
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(getenv(name)); v != "" {
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return true
}

// Terminal says whether out is a terminal that can be redrawn and that a person
// reads.
func Terminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	return ok && term.IsTerminal(int(file.Fd())) && os.Getenv("TERM") != "dumb" && os.Getenv("CI") == ""
}

// plainView prints a line whenever an item changes its state: for files, pipes
// and screen readers.
type plainView struct {
	out   io.Writer
	ascii bool
	now   func() time.Time
	began time.Time
	said  map[string]string
}

// NewPlainView returns a view that only appends lines. ascii leaves the shapes
// out.
func NewPlainView(out io.Writer, ascii bool) View {
	return &plainView{out: out, ascii: ascii, now: time.Now, began: time.Now(), said: map[string]string{}}
}

func (v *plainView) Update(items []Item) {
	now := v.now()
	path := make([]string, 0, 4)
	for _, i := range items {
		path = append(path[:min(i.Depth, len(path))], i.Name)
		key := strings.Join(path, "\x00")
		says := i.State + "\x00" + i.Detail
		if v.said[key] == says || i.State == "queued" {
			continue
		}
		v.said[key] = says
		fmt.Fprintf(v.out, "%7s  %s\n", seconds(now.Sub(v.began)), i.text(now, v.ascii))
	}
}

func (v *plainView) Close() {}

// liveView redraws the items in place.
type liveView struct {
	out   io.Writer
	ascii bool
	size  func() (width, height int)

	mu    sync.Mutex
	items []Item
	drawn int // lines on the screen that are ours

	stop chan struct{}
	done sync.WaitGroup
}

// NewLiveView returns a view for a terminal of the given size. ascii leaves the
// shapes out.
func NewLiveView(out io.Writer, ascii bool, size func() (width, height int)) View {
	v := &liveView{out: out, ascii: ascii, size: size, stop: make(chan struct{})}
	v.done.Go(v.tick)
	return v
}

// tick keeps the durations moving.
func (v *liveView) tick() {
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-v.stop:
			return
		case now := <-t.C:
			v.mu.Lock()
			v.draw(now)
			v.mu.Unlock()
		}
	}
}

func (v *liveView) Update(items []Item) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.items = items
	v.draw(time.Now())
}

func (v *liveView) Close() {
	close(v.stop)
	v.done.Wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.draw(time.Now())
	v.items, v.drawn = nil, 0
}

// draw replaces our lines on the screen in a single write.
func (v *liveView) draw(now time.Time) {
	width, height := v.size()
	lines := layout(v.items, now, width, height-1, v.ascii)
	var b strings.Builder
	if v.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", v.drawn)
	}
	for _, l := range lines {
		b.WriteString(l + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	v.drawn = len(lines)
	_, _ = io.WriteString(v.out, b.String())
}

// layout makes at most height lines of at most width columns: what is below a
// finished item is folded away, and if that is not enough, the oldest lines
// are.
func layout(items []Item, now time.Time, width, height int, ascii bool) []string {
	var lines []string
	folded := -1 // depth below which items are hidden
	for _, i := range items {
		if folded >= 0 && i.Depth > folded {
			continue
		}
		folded = -1
		if i.State == "passed" || i.State == "skipped" || i.State == "queued" {
			folded = i.Depth
		}
		lines = append(lines, cut(i.text(now, ascii), width, ascii))
	}
	if height > 1 && len(lines) > height {
		hidden := len(lines) - height + 1
		lines = append([]string{cut(fmt.Sprintf("(%d lines above)", hidden), width, ascii)}, lines[hidden:]...)
	}
	return lines
}

// cut shortens s to width columns. The text of our views is one column a rune.
func cut(s string, width int, ascii bool) string {
	if width < 1 || utf8.RuneCountInString(s) <= width {
		return s
	}
	end := "…"
	if ascii {
		end = "~"
	}
	return string([]rune(s)[:width-1]) + end
}
