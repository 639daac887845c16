package git

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/penstock-dev/penstock/internal/base/pace"
)

// paced reads a request and writes its answer, both no slower than its pace.
type paced struct {
	pace   pace.Pace
	w      http.ResponseWriter
	ctl    *http.ResponseController
	body   io.Reader
	start  time.Time
	in     int64
	out    atomic.Int64 // also says whether an answer has begun
	whole  atomic.Bool  // all of the body was read
	broken atomic.Bool  // it cannot be
	quick  atomic.Bool  // writes must be taken at once
}

func newPaced(p pace.Pace, w http.ResponseWriter, body io.Reader) *paced {
	return &paced{pace: p, w: w, ctl: http.NewResponseController(w), body: body, start: time.Now()}
}

// Read reads the body. It is called by one goroutine at a time.
func (p *paced) Read(b []byte) (int, error) {
	// A writer without deadlines, as in a test, just has none.
	_ = p.ctl.SetReadDeadline(p.pace.Deadline(p.start, time.Now(), p.in))
	n, err := p.body.Read(b)
	p.in += int64(n)
	if errors.Is(err, io.EOF) {
		p.whole.Store(true)
		// net/http goes on reading to notice when the client leaves; a
		// deadline would look like that.
		_ = p.ctl.SetReadDeadline(time.Time{})
	} else if err != nil {
		p.broken.Store(true)
	}
	return n, err
}

// Write sends b to the client at once. It is called by one goroutine at a time.
func (p *paced) Write(b []byte) (int, error) {
	deadline := p.pace.Deadline(p.start, time.Now(), p.out.Load())
	if p.quick.Load() {
		deadline = time.Now().Add(quickWrite)
	}
	_ = p.ctl.SetWriteDeadline(deadline)
	n, err := p.w.Write(b)
	p.out.Add(int64(n))
	if err == nil {
		err = p.ctl.Flush()
	}
	return n, err
}

// quickWrite bounds a write that others wait for.
const quickWrite = 5 * time.Second

// done gives the connection back without deadlines of ours.
func (p *paced) done() {
	if !p.whole.Load() && !p.broken.Load() {
		// net/http reads what is left of the body, but not for long. A
		// deadline that has passed stays.
		_ = p.ctl.SetReadDeadline(time.Now().Add(quickWrite))
	}
	_ = p.ctl.SetWriteDeadline(time.Time{}) // all is flushed but the end mark
}
