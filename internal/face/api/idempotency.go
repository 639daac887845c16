package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"regexp"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/replay"
)

const idempotencyHeader = "Idempotency-Key"

// Replays keeps the answers to POSTs that carry an Idempotency-Key.
type Replays interface {
	// Claim takes a key of a user for the request with this digest. It returns
	// the answer when the request was answered before; an error that wraps
	// problem.ErrExists while it is being answered, and problem.ErrInvalid when
	// the key belongs to another request.
	Claim(ctx context.Context, user, key, digest string) (*replay.Reply, error)
	// Keep stores the answer, or gives the key back when reply is nil.
	Keep(ctx context.Context, user, key string, reply *replay.Reply) error
}

var keyForm = regexp.MustCompile(`^[!-~]{1,255}$`)

// maxKept bounds the bodies that are kept and compared.
const maxKept = 1 << 20

// Idempotency makes POSTs with an Idempotency-Key happen once.
func (a *API) Idempotency(r Replays) { a.replays = r }

// once answers a POST that carries an Idempotency-Key: the first time by the
// route, afterwards with the same answer.
func (a *API) once(w http.ResponseWriter, r *http.Request, n need, ok bool) {
	key := r.Header.Get(idempotencyHeader)
	p, isKnown := Caller(r.Context())
	switch {
	case !ok || !isKnown || n.sealed:
		writeProblem(w, http.StatusBadRequest, "this operation takes no "+idempotencyHeader+": its answer is not kept")
		return
	case !keyForm.MatchString(key):
		writeProblem(w, http.StatusBadRequest, idempotencyHeader+" has 1 to 255 printable characters without blanks")
		return
	case a.replays == nil:
		writeProblem(w, http.StatusNotImplemented, "this server keeps no answers, so it takes no "+idempotencyHeader)
		return
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime))
	body, err := io.ReadAll(io.LimitReader(r.Body, maxKept+1))
	if err != nil {
		writeProblem(w, http.StatusBadRequest, "the request's body did not arrive")
		return
	}
	if len(body) > maxKept {
		writeProblem(w, http.StatusRequestEntityTooLarge, "the request's body is too large")
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	// Sums of parts of known length: no request looks like another one.
	sum := sha256.New()
	for _, part := range [][]byte{[]byte(r.Method), []byte(r.URL.RequestURI()), []byte(r.Header.Get("Content-Type")), body} {
		h := sha256.Sum256(part)
		sum.Write(h[:])
	}
	reply, err := a.replays.Claim(r.Context(), p.Name, key, hex.EncodeToString(sum.Sum(nil)))
	switch {
	case errors.Is(err, problem.ErrExists):
		writeProblem(w, http.StatusConflict, "the request with this "+idempotencyHeader+" is still being answered")
		return
	case errors.Is(err, problem.ErrInvalid):
		writeProblem(w, http.StatusUnprocessableEntity, "this "+idempotencyHeader+" was used for another request")
		return
	case err != nil:
		writeProblem(w, http.StatusInternalServerError, err.Error())
		return
	case reply != nil:
		w.Header().Set("Idempotent-Replayed", "true")
		if reply.ContentType != "" {
			w.Header().Set("Content-Type", reply.ContentType)
		}
		w.WriteHeader(reply.Status)
		_, _ = w.Write(reply.Body)
		return
	}
	rec := &recorder{ResponseWriter: w}
	kept := false
	// The client may leave: the answer is kept for when it asks again.
	ctx := context.WithoutCancel(r.Context())
	defer func() {
		if !kept { // a panic: the request may be tried again
			_ = a.replays.Keep(ctx, p.Name, key, nil)
		}
	}()
	a.mux.ServeHTTP(rec, r.WithContext(ctx))
	kept = true
	var keep *replay.Reply
	if rec.code < http.StatusInternalServerError && rec.code != http.StatusTooManyRequests && rec.body.Len() <= maxKept {
		keep = &replay.Reply{Status: max(rec.code, http.StatusOK), ContentType: w.Header().Get("Content-Type"), Body: rec.body.Bytes()}
	}
	// The answer has been given. Without its record a repetition is carried
	// out, which is what happens without a key, too.
	_ = a.replays.Keep(ctx, p.Name, key, keep)
}

// recorder keeps a copy of an answer.
type recorder struct {
	http.ResponseWriter
	code int
	body bytes.Buffer
}

func (r *recorder) WriteHeader(code int) {
	if r.code == 0 {
		r.code = code
	}
	r.ResponseWriter.WriteHeader(code)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.code == 0 {
		r.code = http.StatusOK
	}
	if r.body.Len() <= maxKept {
		r.body.Write(b)
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap serves http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// remoteHost is the address of the client, without its port.
func remoteHost(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
