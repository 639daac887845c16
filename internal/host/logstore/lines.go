package logstore

import (
	"bytes"
	"sync"
)

// Lines turns the output of a command into lines and hands each to a function:
// LF, CR and CR LF end one, so progress that rewrites itself is readable. It is
// given as standard output and as standard error, so that their order stays. A
// line without an end is handed on in parts of at most [MaxRow], none of which
// ends inside a secret.
type Lines struct {
	mu   sync.Mutex
	part bytes.Buffer
	cr   bool // the last byte was a carriage return, which has ended a line
	emit func(line string)
	mask Mask
}

// NewLines makes Lines that call emit, one call at a time.
func NewLines(mask Mask, emit func(line string)) *Lines { return &Lines{mask: mask, emit: emit} }

// Write never fails, so that a full disk does not break the step's pipe; the
// log keeps the error.
func (w *Lines) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(p)
	for len(p) > 0 {
		if w.cr && p[0] == '\n' {
			p = p[1:]
		}
		w.cr = false
		i := bytes.IndexAny(p, "\r\n")
		if i < 0 {
			break
		}
		w.part.Write(p[:i])
		w.flush()
		w.cr = p[i] == '\r'
		p = p[i+1:]
	}
	for len(p) > 0 {
		fits := len(p)
		if room := MaxRow - w.part.Len(); room > 0 {
			fits = min(fits, room)
		}
		w.part.Write(p[:fits])
		p = p[fits:]
		w.shorten()
	}
	return n, nil
}

// shorten hands on what is long enough for a row of its own.
func (w *Lines) shorten() {
	if w.part.Len() < MaxRow {
		return
	}
	text := w.part.String()
	if cut := w.mask.Cut(text); cut > 0 {
		w.emit(text[:cut])
		w.part.Reset()
		w.part.WriteString(text[cut:])
	}
}

func (w *Lines) flush() {
	line := w.part.String()
	w.part.Reset()
	w.emit(line)
}

// Flush hands on what came after the last end of line.
func (w *Lines) Flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.part.Len() > 0 {
		w.flush()
	}
}
