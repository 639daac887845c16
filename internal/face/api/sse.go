package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// errGone says that the client takes nothing any more.
var errGone = errors.New("the client has gone")

// sseWriter writes server-sent events.
type sseWriter struct {
	w       interface{ Write([]byte) (int, error) }
	control *http.ResponseController
}

func newSSEWriter(w interface{ Write([]byte) (int, error) }) *sseWriter {
	s := &sseWriter{w: w}
	if rw, ok := w.(http.ResponseWriter); ok {
		s.control = http.NewResponseController(rw)
	}
	return s
}

func (s *sseWriter) message(position, event string, data any) error {
	b, err := json.Marshal(data) // no line breaks in it
	if err != nil {
		return fmt.Errorf("encode a message: %w", err)
	}
	var m bytes.Buffer
	if position != "" {
		fmt.Fprintf(&m, "id: %s\n", position)
	}
	fmt.Fprintf(&m, "event: %s\ndata: %s\n\n", event, b)
	return s.write(m.Bytes())
}

func (s *sseWriter) comment(text string) error { return s.write([]byte(":" + text + "\n\n")) }

func (s *sseWriter) write(b []byte) error {
	if s.control != nil {
		_ = s.control.SetWriteDeadline(time.Now().Add(streamWrite))
	}
	if _, err := s.w.Write(b); err != nil {
		return errGone
	}
	if s.control != nil {
		if err := s.control.Flush(); err != nil {
			return errGone
		}
	}
	return nil
}
