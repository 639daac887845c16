package api

import (
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/penstock-dev/penstock/internal/base/id"
)

// writeTime is how long a client may take for one piece of an answer.
const writeTime = 30 * time.Second

// Front is the outermost handler of the server: it gives each request an id,
// bounds how slowly its answer is taken, logs it for debugging and turns a
// panic into an answer. Nothing it logs comes from headers or bodies, where
// tokens are.
func Front(h http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request := id.New()
		f := &frontWriter{ResponseWriter: w, ctl: http.NewResponseController(w)}
		f.Header().Set("X-Request-Id", request)
		f.extend()
		start := time.Now()
		defer func() {
			if p := recover(); p != nil {
				aborted, _ := p.(error)
				if !errors.Is(aborted, http.ErrAbortHandler) {
					log.Error("handler panicked", "request", request, "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
				}
				f.abort("internal error; the server's log has it under request " + request)
			}
			log.Debug("request", "request", request, "method", r.Method, "path", r.URL.Path, "status", max(f.code, http.StatusOK), "bytes", f.bytes, "took", time.Since(start))
		}()
		h.ServeHTTP(f, r)
		// A stream that was silent at the end has let its deadline pass; what
		// net/http still writes is the end mark.
		_ = f.ctl.SetWriteDeadline(time.Now().Add(writeTime))
	})
}

// frontWriter counts what is written and moves the deadline with every write,
// unless the handler sets deadlines of its own.
type frontWriter struct {
	http.ResponseWriter
	ctl   *http.ResponseController
	own   bool
	code  int
	bytes int64
}

// abort answers with an error or, when an answer has begun, breaks it off so
// that it does not look complete.
func (f *frontWriter) abort(detail string) {
	if f.code == 0 {
		writeProblem(f, http.StatusInternalServerError, detail)
		return
	}
	if c, _, err := f.ctl.Hijack(); err == nil {
		_ = c.Close()
	}
}

func (f *frontWriter) extend() {
	if !f.own {
		_ = f.ctl.SetWriteDeadline(time.Now().Add(writeTime)) // a recorder in a test has none
	}
}

func (f *frontWriter) WriteHeader(code int) {
	if f.code == 0 && code >= 200 {
		f.code = code
	}
	f.extend()
	f.ResponseWriter.WriteHeader(code)
}

func (f *frontWriter) Write(b []byte) (int, error) {
	if f.code == 0 {
		f.code = http.StatusOK
	}
	f.extend()
	n, err := f.ResponseWriter.Write(b)
	f.bytes += int64(n)
	return n, err
}

// maxSend is how much is sent at once under one deadline.
const maxSend = 4 << 20

// ReadFrom sends what r has: a file without copying it through this process.
func (f *frontWriter) ReadFrom(r io.Reader) (n int64, err error) {
	to, ok := f.ResponseWriter.(io.ReaderFrom)
	if !ok {
		return io.Copy(struct{ io.Writer }{f}, r)
	}
	if f.code == 0 {
		f.code = http.StatusOK
	}
	// The kernel sends a file for a reader that is one, or a limited one.
	part, limited := r.(*io.LimitedReader)
	if !limited {
		part = &io.LimitedReader{R: r, N: math.MaxInt64}
	}
	for part.N > 0 {
		f.extend()
		one := &io.LimitedReader{R: part.R, N: min(part.N, maxSend)}
		sent, err := to.ReadFrom(one)
		n, f.bytes, part.N = n+sent, f.bytes+sent, part.N-sent
		if err != nil || one.N > 0 {
			return n, err
		}
	}
	return n, nil
}

// FlushError sends what is buffered.
func (f *frontWriter) FlushError() error {
	f.extend()
	return f.ctl.Flush()
}

// Flush is FlushError for those who ask for an http.Flusher.
func (f *frontWriter) Flush() { _ = f.FlushError() }

// SetWriteDeadline hands the deadline over to the handler.
func (f *frontWriter) SetWriteDeadline(t time.Time) error {
	f.own = true
	return f.ctl.SetWriteDeadline(t)
}

// Unwrap serves http.ResponseController.
func (f *frontWriter) Unwrap() http.ResponseWriter { return f.ResponseWriter }
