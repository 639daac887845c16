package jobdir

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// EntryType says what an entry reports.
type EntryType string

// The entries of a journal, in the order in which they can occur.
const (
	JobStarted   EntryType = "job_started"
	StepStarted  EntryType = "step_started"
	Annotation   EntryType = "annotation"
	Artifact     EntryType = "artifact"
	StepFinished EntryType = "step_finished"
	JobFinished  EntryType = "job_finished" // terminal: nothing follows
)

// Entry is one line of the journal.
type Entry struct {
	Type       EntryType         `json:"type"`
	At         time.Time         `json:"at"`
	Step       int               `json:"step,omitempty"` // number of the step, from 1
	Name       string            `json:"name,omitempty"`
	Outcome    string            `json:"outcome,omitempty"`    // before continue-on-error
	Conclusion string            `json:"conclusion,omitempty"` // after it; of the job: its result
	Outputs    map[string]string `json:"outputs,omitempty"`    // of the job
	Message    string            `json:"message,omitempty"`
	Note       *Note             `json:"note,omitempty"`
	Image      *Image            `json:"image,omitempty"`
	Names      []string          `json:"names,omitempty"` // JobStarted: all steps planned, by number
}

// Image is an image that a step built.
type Image struct {
	Digest string   `json:"digest"`
	Tags   []string `json:"tags"`             // "host/owner/name:tag", where it can be had on this machine
	Pushed []string `json:"pushed,omitempty"` // those of them that a registry has
}

// Note is an annotation: a message about a place in a file.
type Note struct {
	Level   string `json:"level"` // notice, warning, error
	Title   string `json:"title,omitempty"`
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	EndLine int    `json:"endLine,omitempty"`
	Col     int    `json:"col,omitempty"`
	EndCol  int    `json:"endCol,omitempty"`
	Message string `json:"message"`
}

// Writer appends to a journal. An entry survives the death of the process once
// Append returned; the first and the last one also survive the machine's. A
// job whose journal has no terminal entry failed, whatever else is in it, so
// nothing more needs to wait for the disk.
type Writer struct {
	mu      sync.Mutex
	f       *os.File
	sync    chan struct{} // wakes the syncer
	closing chan struct{}
	done    sync.WaitGroup
	err     error // of the syncer
}

// OpenJournal opens the journal for appending; it must be new or empty, since a
// job runs once.
func (d Dir) OpenJournal() (*Writer, error) {
	f, err := os.OpenFile(d.Journal(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && fi.Size() > 0 {
		err = errors.New("the job has run already")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	w := &Writer{f: f, sync: make(chan struct{}, 1), closing: make(chan struct{})}
	w.done.Go(w.syncer)
	return w, nil
}

// syncEvery is how often entries are brought to the disk beside the running
// steps. More often, every file that a step makes waits for the file system's
// journal.
const syncEvery = time.Second

// syncer brings entries to the disk beside the running steps.
func (w *Writer) syncer() {
	for range w.sync {
		if err := w.f.Sync(); err != nil {
			w.mu.Lock()
			w.err = errors.Join(w.err, err)
			w.mu.Unlock()
		}
		select {
		case <-time.After(syncEvery):
		case <-w.closing:
		}
	}
}

// Append writes e.
func (w *Writer) Append(e Entry) error {
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode journal entry: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := w.f.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("append to journal: %w", err)
	}
	if e.Type == JobStarted || e.Type == JobFinished {
		if err := w.f.Sync(); err != nil {
			return fmt.Errorf("sync journal: %w", err)
		}
		return w.err
	}
	select {
	case w.sync <- struct{}{}:
	default:
	}
	return w.err
}

// Close waits for the syncer.
func (w *Writer) Close() error {
	close(w.closing)
	close(w.sync)
	w.done.Wait()
	return errors.Join(w.err, w.f.Close())
}

// maxEntry bounds one line of the journal.
const maxEntry = 16 << 20

// ReadJournal returns the entries from offset on and the offset after the last
// whole one. A journal that does not exist yet is empty.
func (d Dir) ReadJournal(offset int64) (entries []Entry, next int64, err error) {
	f, err := os.Open(d.Journal())
	if errors.Is(err, os.ErrNotExist) {
		return nil, offset, nil
	}
	if err != nil {
		return nil, offset, err
	}
	defer f.Close()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil, offset, err
	}
	r := bufio.NewReader(f)
	for {
		line, err := readLine(r)
		if err != nil || line == nil {
			return entries, offset, err
		}
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil {
			return entries, offset, fmt.Errorf("journal at byte %d: %w", offset, err)
		}
		entries = append(entries, e)
		offset += int64(len(line))
	}
}

// readLine returns the next whole line with its end, nil when there is none.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case errors.Is(err, bufio.ErrBufferFull):
			if len(line) > maxEntry {
				return nil, errors.New("journal entry too long")
			}
		case errors.Is(err, io.EOF):
			return nil, nil // torn or still being written
		default:
			return nil, err
		}
	}
}

// Terminal returns the terminal entry among entries.
func Terminal(entries []Entry) (Entry, bool) {
	for _, e := range entries {
		if e.Type == JobFinished {
			return e, true
		}
	}
	return Entry{}, false
}
