package registry

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// pace is how slow a client may be with a body. A fixed timeout would end
// large pushes; without any, silent clients would hold connections and
// uploads.
type pace struct {
	idle  time.Duration // longest pause
	grace time.Duration // time before the rate counts
	rate  int64         // bytes per second, on average after grace
}

var defaultPace = pace{idle: 60 * time.Second, grace: 2 * time.Minute, rate: 1 << 10}

// deadline is when a transfer that began at start and has moved n bytes must
// have moved more.
func (p pace) deadline(start, now time.Time, n int64) time.Time {
	idle := now.Add(p.idle)
	average := start.Add(p.grace + time.Duration(float64(n)/float64(p.rate)*float64(time.Second)))
	if average.Before(idle) {
		return average
	}
	return idle
}

// pacedBody reads a request's body no slower than pace.
type pacedBody struct {
	pace  pace
	ctl   *http.ResponseController
	body  io.Reader
	start time.Time
	n     int64
	set   time.Time // the deadline that is set
}

func newPacedBody(p pace, w http.ResponseWriter, r *http.Request) *pacedBody {
	return &pacedBody{pace: p, ctl: http.NewResponseController(w), body: r.Body, start: time.Now()}
}

func (b *pacedBody) Read(p []byte) (int, error) {
	// A fast client makes thousands of reads a second; its deadline moves on
	// now and then only.
	if d := b.pace.deadline(b.start, time.Now(), b.n); d.Sub(b.set) > b.pace.idle/16 || d.Before(b.set) {
		_ = b.ctl.SetReadDeadline(d) // a recorder in a test has none
		b.set = d
	}
	n, err := b.body.Read(p)
	b.n += int64(n)
	if errors.Is(err, io.EOF) {
		// net/http goes on reading to notice when the client leaves; a
		// deadline would look like that.
		_ = b.ctl.SetReadDeadline(time.Time{})
	}
	return n, err
}
