package git

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// exchange is one request that a git program answers.
type exchange struct {
	server *Server
	route  route
	user   string
	req    *http.Request
	body   io.Reader
	out    *paced
	limit  int64
}

// protocolForm is what a client may say about protocol versions.
var protocolForm = regexp.MustCompile(`^[a-z0-9=:._-]{1,200}$`)

// remoteAddr takes the place of the client's address, which tells nothing here:
// http-backend makes it the end of the mail address in reflogs.
const remoteAddr = "penstock"

// backend prepares git's http-backend for the request, as a web server would.
func (x *exchange) backend(ctx context.Context) *exec.Cmd {
	s := x.server
	cmd := s.git.prepare(exec.CommandContext(ctx, s.git.backend), s.dir(x.route.repo))
	path, query := "/"+string(x.route.service), ""
	if x.route.refs {
		path, query = "/info/refs", "service="+string(x.route.service)
	}
	cmd.Env = append(cmd.Env[:len(cmd.Env):len(cmd.Env)],
		"GIT_PROJECT_ROOT="+s.dir(x.route.repo),
		"GIT_HTTP_EXPORT_ALL=1",
		"GIT_HTTP_MAX_REQUEST_BUFFER="+strconv.Itoa(maxRequest),
		"PATH_INFO="+path,
		"QUERY_STRING="+query,
		"REQUEST_METHOD="+x.req.Method,
		"CONTENT_TYPE="+x.req.Header.Get("Content-Type"),
		"REMOTE_USER="+x.user,
		"REMOTE_ADDR="+remoteAddr,
		"SERVER_PROTOCOL=HTTP/1.1",
	)
	if p := x.req.Header.Get("Git-Protocol"); protocolForm.MatchString(p) {
		cmd.Env = append(cmd.Env, "GIT_PROTOCOL="+p)
	}
	return cmd
}

// advertiseOrUpload answers the list of refs, or a fetch. Neither changes
// anything, so both end when the client is gone.
func (x *exchange) advertiseOrUpload(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := x.backend(ctx)
	said := &head{max: 8 << 10}
	cmd.Stderr = said
	in, err := cmd.StdinPipe()
	if err != nil {
		x.fail("start git", err)
		return
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		x.fail("start git", err)
		return
	}
	fed := make(chan error, 1)
	go func() {
		defer in.Close()
		if x.route.refs {
			fed <- nil
			return
		}
		_, err := io.Copy(in, x.body)
		if err != nil && !brokenPipe(err) {
			cancel() // git must not take half a request for a whole one
		}
		fed <- err
	}()
	r := bufio.NewReaderSize(out, 64<<10)
	err = x.copyHeader(r)
	if err == nil {
		_, err = io.Copy(onlyWriter{x.out}, r)
	}
	if err != nil {
		cancel()
	}
	err = errors.Join(err, cmd.Wait())
	if feedErr := <-fed; feedErr != nil && !brokenPipe(feedErr) {
		err = feedErr
	}
	if err != nil {
		x.explain(err, said)
	}
}

// onlyWriter hides everything but Write, so that each piece is flushed.
type onlyWriter struct{ io.Writer }

// explain ends an exchange that failed, with an answer if none has begun.
func (x *exchange) explain(err error, said *head) {
	x.server.log.Debug("git request failed", "repo", x.route.repo, "service", string(x.route.service), "error", err, "stderr", said.lastLine())
	if x.out.out.Load() > 0 {
		return
	}
	switch {
	case errors.Is(err, errTooLarge):
		answer(x.out.w, http.StatusRequestEntityTooLarge, tooLarge(x.limit))
	case errors.Is(err, os.ErrDeadlineExceeded):
		answer(x.out.w, http.StatusRequestTimeout, "the request came too slowly")
	case errors.Is(err, errBusy):
		answer(x.out.w, http.StatusServiceUnavailable, err.Error())
	default:
		msg := "git could not answer the request"
		if line := said.lastLine(); line != "" {
			msg += ": " + line
		}
		answer(x.out.w, http.StatusInternalServerError, msg)
	}
}

func (x *exchange) fail(what string, err error) {
	x.server.log.Error("git request not served", "repo", x.route.repo, "tried", what, "error", err)
	answer(x.out.w, http.StatusInternalServerError, what+": "+err.Error())
}

// passed lists the headers of http-backend that the client gets.
var passed = map[string]bool{"Content-Type": true, "Cache-Control": true, "Expires": true, "Pragma": true}

// copyHeader reads the header that http-backend writes before its answer.
func (x *exchange) copyHeader(r *bufio.Reader) error {
	h, err := textproto.NewReader(bufio.NewReaderSize(&headerReader{r: r}, 16)).ReadMIMEHeader()
	if err != nil {
		return fmt.Errorf("read header of http-backend: %w", err)
	}
	code := http.StatusOK
	if st := h.Get("Status"); st != "" {
		word, _, _ := strings.Cut(st, " ")
		if code, err = strconv.Atoi(word); err != nil || code < 200 || code > 599 {
			return fmt.Errorf("http-backend answered status %q", st)
		}
	}
	for k, v := range h {
		if passed[k] {
			x.out.w.Header()[k] = v
		}
	}
	x.out.w.Header().Set("X-Content-Type-Options", "nosniff")
	if code != http.StatusOK {
		x.out.w.WriteHeader(code)
	}
	return nil
}

// headerReader gives out the header line by line and ends after the empty
// line, so that a buffered reader over it takes nothing of the body.
type headerReader struct {
	r    *bufio.Reader
	line []byte
	n    int
	end  bool
}

const maxHeader = 16 << 10

func (h *headerReader) Read(b []byte) (int, error) {
	if len(h.line) == 0 {
		if h.end {
			return 0, io.EOF
		}
		line, err := h.r.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if h.n += len(line); h.n > maxHeader {
			return 0, errTooLarge
		}
		h.end = len(strings.TrimRight(string(line), "\r\n")) == 0
		h.line = append(h.line, line...)
	}
	n := copy(b, h.line)
	h.line = h.line[n:]
	return n, nil
}
