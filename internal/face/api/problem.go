package api

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// writeProblem answers with RFC 9457 outside of huma's handlers.
func writeProblem(w http.ResponseWriter, code int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"status": code, "title": http.StatusText(code), "detail": detail})
}

// refuse answers a request that is not let in.
func refuse(w http.ResponseWriter, err error) {
	later, soon := retryAfter(err)
	switch {
	case soon:
		w.Header().Set("Retry-After", later)
		writeProblem(w, http.StatusTooManyRequests, err.Error())
	case errors.Is(err, problem.ErrForbidden) && !errors.Is(err, problem.ErrUnauthenticated):
		writeProblem(w, http.StatusForbidden, err.Error())
	default:
		w.Header().Set("WWW-Authenticate", `Bearer realm="penstock"`)
		writeProblem(w, http.StatusUnauthorized, err.Error())
	}
}

// retryAfter says in how many seconds a refusal may be something else.
func retryAfter(err error) (seconds string, ok bool) {
	var later interface{ RetryAfter() time.Duration }
	if !errors.As(err, &later) {
		return "", false
	}
	return strconv.Itoa(int(math.Ceil(later.RetryAfter().Seconds()))), true
}

// withoutValues drops from an error what the request had at the place that is
// wrong, which can be a secret, also next to one: an answer may be kept in a
// log. The place is named, and who sent the request has its value.
func withoutValues(_ huma.Context, _ string, v any) (any, error) {
	e, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	for _, d := range e.Errors {
		if !strings.HasPrefix(d.Location, "path.") && !strings.HasPrefix(d.Location, "query.") {
			d.Value = nil
		}
	}
	return e, nil
}

// noRoute answers a request that no route takes. h is what net/http would
// answer: not found, wrong method, or a redirect to the clean path.
func noRoute(w http.ResponseWriter, r *http.Request, h http.Handler) {
	said := &heard{header: http.Header{}}
	h.ServeHTTP(said, r)
	for _, k := range []string{"Allow", "Location"} {
		if v := said.header.Get(k); v != "" {
			w.Header().Set(k, v)
		}
	}
	detail := "there is nothing at " + r.URL.Path
	if said.code == http.StatusMethodNotAllowed {
		detail = r.Method + " is not possible at " + r.URL.Path
	}
	writeProblem(w, said.code, detail)
}

// heard keeps the status and header of an answer, not its body.
type heard struct {
	header http.Header
	code   int
}

func (h *heard) Header() http.Header         { return h.header }
func (h *heard) Write(b []byte) (int, error) { return len(b), nil }
func (h *heard) WriteHeader(code int)        { h.code = code }

// relaxed lifts the read deadline once the body has been read to its end. After
// an error it stays: net/http still reads what is left of the body.
type relaxed struct {
	io.ReadCloser
	ctl *http.ResponseController
}

func (b *relaxed) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		_ = b.ctl.SetReadDeadline(time.Time{})
	}
	return n, err
}
