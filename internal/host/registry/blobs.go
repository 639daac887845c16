package registry

import (
	"errors"
	"net/http"
	"os"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/penstock-dev/penstock/internal/host/registry/storage"
)

// blob serves and deletes blobs.
func (s *Server) blob(w http.ResponseWriter, q *request) error {
	d, err := storage.ParseDigest(q.arg)
	if err != nil {
		return err
	}
	if q.Method == http.MethodDelete {
		if err := s.store.DeleteBlob(q.repo, d); err != nil {
			return err
		}
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
	f, err := s.openBlob(q, d)
	if err != nil {
		return err
	}
	defer f.Close()
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Cache-Control", "private, max-age=31536000, immutable")
	setDigest(h, d)
	// Ranges and conditions; the content of a digest has no date.
	http.ServeContent(w, q.Request, "", time.Time{}, f)
	return nil
}

func (s *Server) openBlob(q *request, d digest.Digest) (*os.File, error) {
	f, err := s.store.OpenBlob(q.repo, d)
	if !q.fetch || !errors.Is(err, storage.ErrBlobUnknown) {
		return f, err
	}
	if err := s.outside.Blob(q.Context(), q.repo, d.String()); err != nil {
		return nil, err
	}
	return s.store.OpenBlob(q.repo, d)
}

// setDigest names what is sent. It is its own entity tag.
func setDigest(h http.Header, d digest.Digest) {
	h.Set("Docker-Content-Digest", d.String())
	h.Set("ETag", `"`+d.String()+`"`)
	h.Set("X-Content-Type-Options", "nosniff")
}
