package registry

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/registry/storage"
)

var (
	errNoRoute     = errors.New("the registry has no such address")
	errMethod      = errors.New("the operation is unsupported")
	errReadOnly    = errors.New("this is a copy of another registry: it is read only")
	errNoDigest    = errors.New("the digest is missing")
	errRangeHeader = errors.New("the header Content-Range is not of the form 0-99")
	errPageSize    = errors.New("the parameter n is not a number")
)

// failure is one entry of the specification's error format.
type failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Detail  any    `json:"detail,omitempty"`
}

// outcomes says for each error which status and code it has.
var outcomes = []struct {
	is     error
	status int
	code   string
}{
	{storage.ErrNameInvalid, http.StatusBadRequest, "NAME_INVALID"},
	{storage.ErrNameUnknown, http.StatusNotFound, "NAME_UNKNOWN"},
	{storage.ErrBlobUnknown, http.StatusNotFound, "BLOB_UNKNOWN"},
	{storage.ErrManifestUnknown, http.StatusNotFound, "MANIFEST_UNKNOWN"},
	{storage.ErrManifestInvalid, http.StatusBadRequest, "MANIFEST_INVALID"},
	{storage.ErrDigestInvalid, http.StatusBadRequest, "DIGEST_INVALID"},
	{storage.ErrSizeInvalid, http.StatusBadRequest, "SIZE_INVALID"},
	{storage.ErrUploadUnknown, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN"},
	{storage.ErrUploadBusy, http.StatusTooManyRequests, "TOOMANYREQUESTS"},
	{storage.ErrUploadsFull, http.StatusTooManyRequests, "TOOMANYREQUESTS"},
	{storage.ErrRange, http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID"},
	{storage.ErrTooLarge, http.StatusRequestEntityTooLarge, "SIZE_INVALID"},
	{storage.ErrBroken, http.StatusBadRequest, "BLOB_UPLOAD_INVALID"},
	{storage.ErrInUse, http.StatusMethodNotAllowed, "UNSUPPORTED"},
	{errNoRoute, http.StatusNotFound, "UNSUPPORTED"},
	{errMethod, http.StatusMethodNotAllowed, "UNSUPPORTED"},
	{errReadOnly, http.StatusMethodNotAllowed, "UNSUPPORTED"},
	{errNoDigest, http.StatusBadRequest, "DIGEST_INVALID"},
	{errRangeHeader, http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID"},
	{errPageSize, http.StatusBadRequest, "UNSUPPORTED"},
	{problem.ErrUnauthenticated, http.StatusUnauthorized, "UNAUTHORIZED"},
	{problem.ErrForbidden, http.StatusForbidden, "DENIED"},
	{problem.ErrTimeout, http.StatusBadGateway, "UNKNOWN"}, // another registry cannot be reached
	{context.DeadlineExceeded, http.StatusBadGateway, "UNKNOWN"},
	{syscall.ENOSPC, http.StatusInsufficientStorage, "UNKNOWN"},
}

// refuse answers with an error. What is none of the client's doing is logged,
// and the client gets no paths.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	h := w.Header()
	var later interface{ RetryAfter() time.Duration }
	if errors.As(err, &later) {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(later.RetryAfter().Seconds()))))
		s.fail(w, r, http.StatusTooManyRequests, failure{"TOOMANYREQUESTS", err.Error(), nil})
		return
	}
	if m, ok := errors.AsType[*storage.MissingError](err); ok {
		var list []failure
		for _, d := range m.Digests {
			list = append(list, failure{"MANIFEST_BLOB_UNKNOWN", "the repository does not have what the manifest references", map[string]string{"digest": d.String()}})
		}
		s.fail(w, r, http.StatusNotFound, list...)
		return
	}
	for _, o := range outcomes {
		if !errors.Is(err, o.is) {
			continue
		}
		msg := err.Error()
		switch o.status {
		case http.StatusUnauthorized:
			h.Set("WWW-Authenticate", `Basic realm="penstock", charset="UTF-8"`)
		case http.StatusTooManyRequests:
			h.Set("Retry-After", "5")
		case http.StatusMethodNotAllowed:
			if h.Get("Allow") == "" {
				h.Set("Allow", "GET, HEAD")
			}
		case http.StatusInsufficientStorage:
			s.log.Error("the registry's disk is full", "error", err)
			msg = "the registry's disk is full"
		}
		s.fail(w, r, o.status, failure{o.code, msg, nil})
		return
	}
	if r.Context().Err() == nil {
		s.log.Error("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	s.fail(w, r, http.StatusInternalServerError, failure{"UNKNOWN", "internal error; the server's log has it", nil})
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, status int, list ...failure) {
	b, err := json.Marshal(map[string]any{"errors": list})
	if err != nil {
		b = []byte(`{"errors":[{"code":"UNKNOWN"}]}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(b) // the client is gone; there is nobody to tell
	}
}
