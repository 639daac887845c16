package logstore

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// Mask hides secrets; *redact.Masker is one.
type Mask interface {
	Mask(text string) string
	// Cut says how much of an unfinished text can be let go without dividing
	// a secret.
	Cut(text string) int
}

// DefaultLimit bounds the text of a log, which is on the disk that everything
// else needs as well.
const DefaultLimit = 512 << 20

// quiet is how long rows may wait for others to share a frame. The first row
// after a pause does not wait, so a follower sees it at once.
const quiet = 40 * time.Millisecond

// Options of a Writer.
type Options struct {
	Mask  Mask             // nil hides nothing
	Limit int64            // bytes of text, default DefaultLimit; what follows is dropped, and the log says so
	Now   func() time.Time // default time.Now
}

// Writer writes a log. Its methods may be called from any goroutine. Rows are
// in the file, and survive the death of the process, 40 ms after they were
// printed at the latest.
type Writer struct {
	mask  Mask
	limit int64
	now   func() time.Time
	mu    sync.Mutex
	f     *os.File
	size  int64 // of the file
	first int64 // row of the next frame
	rows  int   // in text
	text  []byte
	frame []byte // reused
	left  int64  // bytes until the log is full
	wrote time.Time
	timer *time.Timer // writes text when it fires
	armed bool
	err   error // the first failed write; nothing is written after it
}

// Create opens the log in the file at path for writing. A log that is there,
// of a writer that died, is continued after the last row that is whole.
func Create(path string, o Options) (*Writer, error) {
	if o.Limit == 0 {
		o.Limit = DefaultLimit
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	w := &Writer{mask: o.Mask, limit: o.Limit, now: o.Now, f: f, left: o.Limit}
	if err := w.resume(); err != nil {
		f.Close()
		return nil, fmt.Errorf("continue log: %w", err)
	}
	return w, nil
}

// resume finds the end of what is whole and cuts the rest off.
func (w *Writer) resume() error {
	fi, err := w.f.Stat()
	if err != nil || fi.Size() == 0 {
		return err
	}
	r, err := newFile(w.f)
	if err != nil {
		return err
	}
	defer r.decoder.close()
	if err := r.sniff(); err != nil {
		return err
	}
	if r.plain != nil {
		return errors.New("it was written by an older version")
	}
	for {
		h, err := r.header(w.size)
		if err == nil && (h.rows == 0 || h.first != uint64(w.first)) {
			break // the end, or not what follows
		}
		if err == nil {
			_, err = r.frame(w.size, h)
		}
		if errors.Is(err, ErrCorrupt) {
			break
		}
		if err != nil {
			return err
		}
		w.size += h.size()
		w.first += int64(h.rows)
		w.left -= int64(h.raw)
	}
	if w.size == fi.Size() {
		return nil
	}
	return w.f.Truncate(w.size)
}

// rowTime is the form in which a row begins: UTC, 100 ns.
const rowTime = "2006-01-02T15:04:05.0000000Z"

// Print adds text, which may hold several lines, as rows of this moment.
func (w *Writer) Print(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.left <= 0 || w.err != nil {
		return
	}
	now := w.now()
	var stamp [len(rowTime) + 1]byte
	now.UTC().AppendFormat(stamp[:0], rowTime)
	stamp[len(rowTime)] = ' '
	for more := true; more && w.left > 0; {
		var line string
		line, text, more = strings.Cut(text, "\n")
		line = strings.TrimSuffix(line, "\r")
		if w.mask != nil {
			line = w.mask.Mask(line)
		}
		for len(line) > MaxRow && w.left > 0 {
			w.row(stamp[:], line[:MaxRow])
			line = line[MaxRow:]
		}
		w.row(stamp[:], line)
	}
	w.schedule(now)
}

// row adds one row.
func (w *Writer) row(stamp []byte, line string) {
	if w.left <= 0 {
		return
	}
	w.text = append(append(append(w.text, stamp...), line...), '\n')
	w.rows++
	if w.left -= int64(len(stamp) + len(line) + 1); w.left <= 0 {
		w.text = fmt.Appendf(append(w.text, stamp...), "##[warning]This log is longer than %d MiB. What follows is not kept.\n", w.limit>>20)
		w.rows++
	}
	if len(w.text) >= frameTarget {
		w.flush()
	}
}

// schedule writes what is there when the log was quiet before, else soon.
func (w *Writer) schedule(now time.Time) {
	if w.rows == 0 || w.armed {
		return
	}
	// A clock that was put back counts as a pause.
	since := now.Sub(w.wrote)
	if since >= quiet || since < 0 {
		w.flush()
		return
	}
	w.armed = true
	if w.timer == nil {
		w.timer = time.AfterFunc(quiet-since, w.late)
		return
	}
	w.timer.Reset(quiet - since)
}

// late is what the timer calls.
func (w *Writer) late() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = false
	w.flush()
}

// flush writes the rows at hand as one frame.
func (w *Writer) flush() {
	if w.rows == 0 || w.err != nil {
		return
	}
	frame, err := appendFrame(w.frame[:0], uint64(w.first), w.rows, w.text)
	if err == nil {
		_, err = w.f.Write(frame)
	}
	if err != nil {
		w.err = err
		// What follows a torn frame could not be read.
		w.err = errors.Join(w.err, w.f.Truncate(w.size))
		return
	}
	w.size += int64(len(frame))
	w.first += int64(w.rows)
	w.rows, w.text, w.frame = 0, w.text[:0], frame
	if cap(w.text) > 4*frameTarget { // one long line does not cost memory for ever
		w.text, w.frame = nil, nil
	}
	w.wrote = w.now()
}

// Close writes what is left and says whether all of the log could be written.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop() // late finds nothing to do when it runs already
	}
	w.flush()
	w.rows = 0
	w.left = 0
	return errors.Join(w.err, w.f.Close())
}
