package registry

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/penstock-dev/penstock/internal/base/pace"
)

// pacedBody reads a request's body no slower than its pace.
type pacedBody struct {
	pace  pace.Pace
	ctl   *http.ResponseController
	body  io.Reader
	start time.Time
	n     int64
	set   time.Time // the deadline that is set
}

func newPacedBody(p pace.Pace, w http.ResponseWriter, r *http.Request) *pacedBody {
	return &pacedBody{pace: p, ctl: http.NewResponseController(w), body: r.Body, start: time.Now()}
}

func (b *pacedBody) Read(p []byte) (int, error) {
	// A fast client makes thousands of reads a second; its deadline moves on
	// now and then only.
	if d := b.pace.Deadline(b.start, time.Now(), b.n); d.Sub(b.set) > b.pace.Idle/16 || d.Before(b.set) {
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
