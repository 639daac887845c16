package registry

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"

	"github.com/opencontainers/go-digest"

	"github.com/penstock-dev/penstock/internal/host/registry/storage"
)

// startUpload begins an upload, or spares the client one: the blob is in the
// request already, or in another repository.
func (s *Server) startUpload(w http.ResponseWriter, q *request) error {
	query := q.URL.Query()
	if text := query.Get("mount"); text != "" {
		d, err := storage.ParseDigest(text)
		if err != nil {
			return err
		}
		if s.mount(q, d, query.Get("from")) {
			created(w, q.repo, d)
			return nil
		}
	} else if text := query.Get("digest"); text != "" {
		d, err := storage.ParseDigest(text)
		if err != nil {
			return err
		}
		if err := s.store.PutBlob(q.Context(), q.repo, d, q.ContentLength, newPacedBody(s.pace, w, q.Request)); err != nil {
			return err
		}
		created(w, q.repo, d)
		return nil
	}
	id, err := s.store.StartUpload(q.repo)
	if err != nil {
		return err
	}
	progress(w, q.repo, id, 0)
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// mount takes a blob from another repository that the user may read: the one
// that the client names, or any.
func (s *Server) mount(q *request, d digest.Digest, from string) bool {
	mayRead := func(repo string) bool { return q.user.May(repo, false) }
	if from == "" {
		var err error
		if from, err = s.store.FindBlob(d, mayRead); err != nil {
			return false
		}
	}
	if storage.CheckName(from) != nil || !mayRead(from) {
		return false
	}
	err := s.store.Mount(q.repo, d, from)
	if err != nil {
		s.log.Debug("blob was not mounted", "repository", q.repo, "from", from, "error", err)
	}
	return err == nil
}

// upload goes on with an upload.
func (s *Server) upload(w http.ResponseWriter, q *request) error {
	switch q.Method {
	case http.MethodGet:
		return s.status(w, q, http.StatusNoContent)
	case http.MethodDelete:
		if err := s.store.Cancel(q.Context(), q.repo, q.arg); err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	var d digest.Digest
	if q.Method == http.MethodPut {
		text := q.URL.Query().Get("digest")
		if text == "" {
			return errNoDigest
		}
		var err error
		if d, err = storage.ParseDigest(text); err != nil {
			return err
		}
	}
	c, err := chunk(q.Request)
	if err != nil {
		_ = s.status(w, q, 0) // the range that would do, unless there is no such upload
		return err
	}
	c.Data = newPacedBody(s.pace, w, q.Request)
	if q.Method == http.MethodPut {
		if err := s.store.Finish(q.Context(), q.repo, q.arg, c, d); err != nil {
			_ = s.status(w, q, 0)
			return err
		}
		created(w, q.repo, d)
		return nil
	}
	size, err := s.store.Append(q.Context(), q.repo, q.arg, c)
	if err != nil {
		_ = s.status(w, q, 0)
		return err
	}
	progress(w, q.repo, q.arg, size)
	w.WriteHeader(http.StatusAccepted)
	return nil
}

var rangeForm = regexp.MustCompile(`^([0-9]{1,18})-([0-9]{1,18})$`)

// chunk reads what the headers say about the body.
func chunk(r *http.Request) (storage.Chunk, error) {
	c := storage.Chunk{Start: -1, Length: r.ContentLength}
	text := r.Header.Get("Content-Range")
	if text == "" {
		return c, nil
	}
	start, length, err := parseRange(text)
	if err != nil {
		return c, err
	}
	if r.ContentLength >= 0 && r.ContentLength != length {
		return c, fmt.Errorf("%w: Content-Range %s with %d bytes", storage.ErrSizeInvalid, text, r.ContentLength)
	}
	c.Start, c.Length = start, length
	return c, nil
}

// parseRange reads the header Content-Range of an upload, which is not that of
// RFC 9110: two positions, both included.
func parseRange(text string) (start, length int64, err error) {
	m := rangeForm.FindStringSubmatch(text)
	if m == nil {
		return 0, 0, errRangeHeader
	}
	start, serr := strconv.ParseInt(m[1], 10, 64)
	end, eerr := strconv.ParseInt(m[2], 10, 64)
	if serr != nil || eerr != nil || end < start {
		return 0, 0, errRangeHeader
	}
	return start, end - start + 1, nil
}

// status tells how far an upload is. Without a code it only sets the headers.
func (s *Server) status(w http.ResponseWriter, q *request, code int) error {
	size, err := s.store.UploadSize(q.Context(), q.repo, q.arg)
	if err != nil {
		return err
	}
	progress(w, q.repo, q.arg, size)
	if code != 0 {
		w.WriteHeader(code)
	}
	return nil
}

// progress sets the headers about an upload of which size bytes are here. That
// none are cannot be said; the custom is to say 0-0.
func progress(w http.ResponseWriter, repo, id string, size int64) {
	h := w.Header()
	h.Set("Location", "/v2/"+repo+"/blobs/uploads/"+id)
	h.Set("Range", "0-"+strconv.FormatInt(max(size-1, 0), 10))
	h.Set("Docker-Upload-UUID", id)
	h.Set("Content-Length", "0")
}

// created says where a new blob is.
func created(w http.ResponseWriter, repo string, d digest.Digest) {
	h := w.Header()
	h.Set("Location", "/v2/"+repo+"/blobs/"+d.String())
	h.Set("Docker-Content-Digest", d.String())
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusCreated)
}
