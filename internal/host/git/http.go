package git

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

const (
	// maxRequest bounds what a fetch may say: names of commits that the client
	// wants or has. git's own http-backend takes 10 MiB.
	maxRequest = 10 << 20
	// commandRoom is what a push may hold beside its pack: the list of refs.
	commandRoom = 64 << 20
	// workflowHost is what workflows mean by a repository without an address:
	// actions/checkout of acme/shop asks us for acme/shop, which may be hosted
	// under another name.
	workflowHost = "https://github.com/"
	// slotWait bounds how long a request waits for its turn.
	slotWait = 30 * time.Second
)

// ServeHTTP serves git's smart HTTP protocol and Git LFS under /git/.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if lfs, ok := parseLFS(r.URL.Path); ok {
		s.serveLFS(w, r, lfs)
		return
	}
	rt, code := parseRoute(r.Method, r.URL.Path, r.URL.RawQuery)
	if code != http.StatusOK {
		answer(w, code, http.StatusText(code))
		return
	}
	write := rt.service == receivePack
	if target, ok := s.names.repo(workflowHost + rt.repo); ok && !write && !s.exists(rt.repo) {
		rt.repo = target
	}
	user, err := s.access.AuthorizeGit(r, rt.repo, write)
	if err != nil {
		refuse(w, err)
		return
	}
	if !s.exists(rt.repo) {
		answer(w, http.StatusNotFound, fmt.Sprintf("repository %s does not exist here; create it with: penstock repo create %s", rt.repo, rt.repo))
		return
	}
	if m := s.mirrors.get(rt.repo); write && m != nil {
		answer(w, http.StatusForbidden, fmt.Sprintf("%s is a mirror of %s and takes no pushes; to make it a repository that does: penstock repo mirror --stop %s", rt.repo, m.URL, rt.repo))
		return
	}
	if want := "application/x-" + string(rt.service) + "-request"; !rt.refs && r.Header.Get("Content-Type") != want {
		answer(w, http.StatusUnsupportedMediaType, "expected "+want)
		return
	}
	limit := int64(maxRequest)
	if write {
		limit = addRoom(s.maxPush, commandRoom)
	}
	if r.ContentLength > limit {
		answer(w, http.StatusRequestEntityTooLarge, tooLarge(limit))
		return
	}
	release, err := s.slots.take(r.Context(), user, slotWait)
	if err != nil {
		w.Header().Set("Retry-After", "5")
		answer(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	defer release()
	p := newPaced(s.pace, w, r.Body)
	defer p.done()
	body, err := decode(r, p, limit)
	if err != nil {
		answer(w, http.StatusBadRequest, err.Error())
		return
	}
	x := &exchange{server: s, route: rt, user: user, req: r, body: body, out: p, limit: limit}
	if write && !rt.refs {
		x.receive(context.WithoutCancel(r.Context()))
		return
	}
	x.advertiseOrUpload(r.Context())
}

// decode returns the request's body as git's program is to see it: not
// compressed, and an error once it is longer than limit in either form.
func decode(r *http.Request, p *paced, limit int64) (io.Reader, error) {
	var body io.Reader = &limited{r: p, left: limit}
	switch r.Header.Get("Content-Encoding") {
	case "", "identity":
		return body, nil
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(body)
		if err != nil {
			return nil, fmt.Errorf("read gzip body: %w", err)
		}
		return &limited{r: z, left: limit}, nil
	}
	return nil, fmt.Errorf("content encoding %q is not served", r.Header.Get("Content-Encoding"))
}

// limited is an io.LimitedReader that fails at its end instead of hiding it.
type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(b []byte) (int, error) {
	if l.left < 0 {
		return 0, errTooLarge
	}
	if int64(len(b)) > l.left+1 {
		b = b[:l.left+1]
	}
	n, err := l.r.Read(b)
	if l.left -= int64(n); l.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

func addRoom(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

func tooLarge(limit int64) string {
	return "the request is larger than the " + strconv.FormatInt(limit>>20, 10) + " MiB that are taken here"
}

// refuse answers a request that may not do what it asks for.
func refuse(w http.ResponseWriter, err error) {
	var later interface{ RetryAfter() time.Duration }
	switch {
	case errors.As(err, &later):
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(later.RetryAfter().Seconds()))))
		answer(w, http.StatusTooManyRequests, err.Error())
	case errors.Is(err, problem.ErrUnauthenticated):
		w.Header().Set("WWW-Authenticate", `Basic realm="penstock", charset="UTF-8"`)
		answer(w, http.StatusUnauthorized, err.Error())
	case errors.Is(err, problem.ErrForbidden):
		answer(w, http.StatusForbidden, err.Error())
	default:
		answer(w, http.StatusInternalServerError, err.Error())
	}
}

// answer sends a message that git shows to its user.
func answer(w http.ResponseWriter, code int, msg string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, msg+"\n")
}
