package registry

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/penstock-dev/penstock/internal/host/registry/storage"
)

// manifest serves, takes and deletes manifests and tags.
func (s *Server) manifest(w http.ResponseWriter, q *request) error {
	d, tag, err := reference(q.arg)
	if err != nil {
		return err
	}
	switch q.Method {
	case http.MethodPut:
		return s.putManifest(w, q, d, tag)
	case http.MethodDelete:
		if tag != "" {
			err = s.store.DeleteTag(q.repo, q.view, tag)
		} else {
			err = s.store.DeleteManifest(q.repo, d)
		}
		if err != nil {
			return err
		}
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
	m, err := s.findManifest(w, q, d, tag)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", m.MediaType)
	h.Set("Cache-Control", "private, no-cache") // a tag may move
	setDigest(h, m.Digest)
	http.ServeContent(w, q.Request, "", time.Time{}, bytes.NewReader(m.Data))
	return nil
}

// reference reads a tag or a digest: only a digest has a colon.
func reference(arg string) (d digest.Digest, tag string, err error) {
	if strings.Contains(arg, ":") {
		d, err = storage.ParseDigest(arg)
		return d, "", err
	}
	return "", arg, storage.CheckTag(arg)
}

func (s *Server) findManifest(w http.ResponseWriter, q *request, d digest.Digest, tag string) (storage.Manifest, error) {
	if q.fetch {
		m, warning, err := s.outside.Manifest(q.Context(), q.repo, q.arg)
		if warning != "" {
			w.Header().Set("Warning", "299 - "+quoted(warning))
		}
		return m, err
	}
	if tag != "" {
		var err error
		if d, err = s.store.Resolve(q.repo, q.view, tag); err != nil {
			return storage.Manifest{}, err
		}
	}
	return s.store.GetManifest(q.repo, d)
}

// quoted makes a text a quoted string of a header, which is short and has no
// control characters.
func quoted(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return '_'
		}
		return r
	}, text)
	return `"` + text[:min(len(text), 1000)] + `"`
}

func (s *Server) putManifest(w http.ResponseWriter, q *request, d digest.Digest, tag string) error {
	if q.ContentLength > storage.MaxManifest {
		return fmt.Errorf("%w: manifests of more than %d bytes are not taken", storage.ErrTooLarge, storage.MaxManifest)
	}
	data, err := io.ReadAll(io.LimitReader(newPacedBody(s.pace, w, q.Request), storage.MaxManifest+1))
	if err != nil {
		return fmt.Errorf("%w: %w", storage.ErrBroken, err)
	}
	p := storage.Put{MediaType: mediaType(q.Header.Get("Content-Type")), Data: data, Digest: d, Tag: tag, View: q.view}
	m, err := s.store.PutManifest(q.Context(), q.repo, p)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Location", "/v2/"+q.repo+"/manifests/"+m.Digest.String())
	h.Set("Docker-Content-Digest", m.Digest.String())
	h.Set("Content-Length", "0")
	if m.Subject != "" {
		h.Set("OCI-Subject", m.Subject.String())
	}
	w.WriteHeader(http.StatusCreated)
	s.log.Info("manifest pushed", "repository", q.repo, "reference", q.arg, "digest", m.Digest, "user", q.user.Name, "view", q.view)
	return nil
}

// mediaType leaves out the parameters of a Content-Type, as the specification
// says. What is none counts as absent: the manifest may say it itself.
func mediaType(header string) string {
	t, _, err := mime.ParseMediaType(header)
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return ""
	}
	return t
}
