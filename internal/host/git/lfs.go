package git

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// Git LFS: large files are stored beside the repository, by the SHA-256 of
// their content, and git holds a pointer. The client asks with the batch API
// where to put or get them; here that is this server itself, with the
// credentials the client has. Locks are advice that the client keeps to.

const lfsMedia = "application/vnd.git-lfs+json"

// oidForm is the name of an LFS object.
var oidForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

const (
	maxLFSRequest = 4 << 20 // of JSON
	maxLFSBatch   = 1000    // objects in one batch; clients ask for 100
	lfsExpires    = 3600    // what the client is told; its credentials decide
)

// lfsRoute is what a request under /git/owner/name.git/info/lfs/ asks for.
type lfsRoute struct {
	repo string
	rest string // "objects/batch", "objects/OID", "objects/OID/verify", "locks", "locks/verify", "locks/ID/unlock"
}

// parseLFS reads the path of a request; ok is false for one that is not about
// LFS at all.
func parseLFS(path string) (r lfsRoute, ok bool) {
	rest, ok := strings.CutPrefix(path, "/git/")
	if !ok {
		return lfsRoute{}, false
	}
	parts := strings.SplitN(rest, "/", 3)
	if len(parts) != 3 {
		return lfsRoute{}, false
	}
	r.repo = parts[0] + "/" + strings.TrimSuffix(parts[1], ".git")
	if r.rest, ok = strings.CutPrefix(parts[2], "info/lfs/"); !ok || CheckName(r.repo) != nil {
		return lfsRoute{}, false
	}
	return r, true
}

// serveLFS answers a request about large files.
func (s *Server) serveLFS(w http.ResponseWriter, r *http.Request, rt lfsRoute) {
	p := newPaced(s.pace, w, r.Body)
	defer p.done()
	x := &lfsExchange{server: s, repo: rt.repo, w: w, req: r, paced: p}
	if err := x.serve(rt.rest); err != nil {
		x.refuse(err)
	}
}

// lfsExchange is one request about large files.
type lfsExchange struct {
	server *Server
	repo   string
	w      http.ResponseWriter
	req    *http.Request
	paced  *paced
	user   string
}

// lfsError is an answer with a status of its own.
type lfsError struct {
	code int
	msg  string
}

func (e *lfsError) Error() string { return e.msg }

func (x *lfsExchange) serve(rest string) error {
	if x.server.blobs == nil {
		return &lfsError{http.StatusNotImplemented, "Git LFS is not served here"}
	}
	first, rest, _ := strings.Cut(rest, "/")
	second, third, _ := strings.Cut(rest, "/")
	type handler struct {
		method string
		write  bool
		do     func() error
	}
	var h handler
	switch {
	case first == "objects" && rest == "batch":
		h = handler{http.MethodPost, false, x.batch} // asks for more when it uploads
	case first == "objects" && oidForm.MatchString(second) && third == "":
		h = handler{http.MethodGet, false, func() error { return x.download(second) }}
		if x.req.Method == http.MethodPut {
			h = handler{http.MethodPut, true, func() error { return x.upload(second) }}
		}
	case first == "objects" && oidForm.MatchString(second) && third == "verify":
		h = handler{http.MethodPost, true, func() error { return x.verify(second) }}
	case first == "locks" && rest == "":
		h = handler{http.MethodGet, false, x.listLocks}
		if x.req.Method == http.MethodPost {
			h = handler{http.MethodPost, true, x.lock}
		}
	case first == "locks" && rest == "verify":
		h = handler{http.MethodPost, true, x.verifyLocks}
	case first == "locks" && third == "unlock":
		h = handler{http.MethodPost, true, func() error { return x.unlock(second) }}
	default:
		return &lfsError{http.StatusNotFound, "not a part of the Git LFS API"}
	}
	if err := x.authorize(h.write); err != nil {
		return err
	}
	if !x.server.exists(x.repo) {
		return &lfsError{http.StatusNotFound, "repository " + x.repo + " does not exist here"}
	}
	if x.req.Method != h.method {
		return &lfsError{http.StatusMethodNotAllowed, "use " + h.method}
	}
	release, err := x.server.slots.take(x.req.Context(), x.user, slotWait)
	if err != nil {
		return &lfsError{http.StatusServiceUnavailable, err.Error()}
	}
	defer release()
	return h.do()
}

func (x *lfsExchange) authorize(write bool) (err error) {
	if x.user, err = x.server.access.AuthorizeGit(x.req, x.repo, write); err != nil {
		return err
	}
	if m := x.server.mirrors.get(x.repo); write && m != nil {
		return &lfsError{http.StatusForbidden, x.repo + " is a mirror of " + m.URL + " and takes nothing"}
	}
	return nil
}

// read decodes the JSON body of the request.
func (x *lfsExchange) read(v any) error {
	b, err := io.ReadAll(&limited{r: x.paced, left: maxLFSRequest})
	if errors.Is(err, errTooLarge) {
		return &lfsError{http.StatusRequestEntityTooLarge, tooLarge(maxLFSRequest)}
	}
	if err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return &lfsError{http.StatusUnprocessableEntity, "the request is not what the Git LFS API says: " + err.Error()}
	}
	return nil
}

// answer sends v as JSON.
func (x *lfsExchange) answer(code int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	h := x.w.Header()
	h.Set("Content-Type", lfsMedia)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	x.w.WriteHeader(code)
	_, _ = x.paced.Write(b) // the client has gone; there is nobody to tell
	return nil
}

// refuse answers with an error in the form that the client shows.
func (x *lfsExchange) refuse(err error) {
	if x.paced.out.Load() > 0 {
		panic(http.ErrAbortHandler) // what was sent must not look complete
	}
	code := http.StatusInternalServerError
	var own *lfsError
	switch {
	case errors.As(err, &own):
		code = own.code
	case errors.Is(err, problem.ErrUnauthenticated):
		code = http.StatusUnauthorized
		x.w.Header().Set("LFS-Authenticate", `Basic realm="penstock", charset="UTF-8"`)
		x.w.Header().Set("WWW-Authenticate", `Basic realm="penstock", charset="UTF-8"`)
	case errors.Is(err, problem.ErrForbidden):
		code = http.StatusForbidden
	case errors.Is(err, problem.ErrNotFound):
		code = http.StatusNotFound
	case errors.Is(err, problem.ErrInvalid):
		code = http.StatusUnprocessableEntity
	default:
		x.server.log.Error("git lfs request not served", "repo", x.repo, "error", err)
	}
	if code == http.StatusServiceUnavailable {
		x.w.Header().Set("Retry-After", "5")
	}
	_ = x.answer(code, map[string]string{"message": err.Error()}) // a map of text has a JSON form
}
