package runner

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// maxLine is the length at which a line without an end is written in parts.
const maxLine = 1 << 20

// stepLog is the log file of one step. Whole lines go to it: masked, with the
// time of their arrival. It may be used from several goroutines.
type stepLog struct {
	mu   sync.Mutex
	f    *os.File
	mask *masker
	buf  bytes.Buffer
	left int64 // bytes until the log is full
	err  error // the first failed write
}

// maxLog bounds the log of one step, which is on the disk that everything else
// here needs as well.
const maxLog = 512 << 20

func newStepLog(path string, mask *masker) (*stepLog, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return &stepLog{f: f, mask: mask, left: maxLog}, nil
}

const logTime = "2006-01-02T15:04:05.0000000Z"

// print writes text, which may hold several lines.
func (l *stepLog) print(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.left <= 0 {
		return
	}
	stamp := time.Now().UTC().Format(logTime)
	l.buf.Reset()
	for _, line := range strings.Split(text, "\n") {
		l.buf.WriteString(stamp)
		l.buf.WriteByte(' ')
		l.buf.WriteString(l.mask.mask(strings.TrimSuffix(line, "\r")))
		l.buf.WriteByte('\n')
	}
	if l.left -= int64(l.buf.Len()); l.left <= 0 {
		fmt.Fprintf(&l.buf, "%s ##[warning]This log is longer than %d MiB. What follows is not kept.\n", stamp, maxLog>>20)
	}
	if _, err := l.f.Write(l.buf.Bytes()); err != nil && l.err == nil {
		l.err = err
	}
}

func (l *stepLog) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.f.Close(); err != nil && l.err == nil {
		l.err = err
	}
	return l.err
}

// lines turns the output of a command into lines and hands each to emit: LF, CR
// and CR LF end one, so progress that rewrites itself is readable. It is given
// as standard output and as standard error, so that their order stays.
type lines struct {
	mu   sync.Mutex
	part bytes.Buffer
	cr   bool // the last byte was a carriage return, which has ended a line
	emit func(line string)
	mask *masker
}

// Write never fails, so that a full disk does not break the step's pipe; the
// log keeps the error.
func (w *lines) Write(p []byte) (int, error) {
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
	w.part.Write(p)
	if w.part.Len() > maxLine {
		text := w.part.String()
		cut := w.mask.cut(text)
		if cut > 0 {
			w.emit(text[:cut])
			w.part.Reset()
			w.part.WriteString(text[cut:])
		}
	}
	return n, nil
}

func (w *lines) flush() {
	line := w.part.String()
	w.part.Reset()
	w.emit(line)
}

// close emits what came after the last end of line.
func (w *lines) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.part.Len() > 0 {
		w.flush()
	}
}
