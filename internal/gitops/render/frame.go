package render

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
)

// Messages between pool and worker are JSON behind a length of four bytes.
const (
	maxRequestBytes  = 1 << 20
	maxResponseBytes = 128 << 20
)

// response is what a worker answers. Either Error or the rest is set.
type response struct {
	Error   string           `json:"error,omitempty"`
	Type    string           `json:"type,omitempty"`
	Objects []map[string]any `json:"objects,omitempty"`
}

func writeFrame(w io.Writer, v any, limit int) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(b) > limit {
		return fmt.Errorf("a message of %d bytes is over the limit of %d", len(b), limit)
	}
	head := binary.BigEndian.AppendUint32(nil, uint32(len(b)))
	if _, err := w.Write(append(head, b...)); err != nil {
		return err
	}
	return nil
}

func readFrame(r io.Reader, limit int) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(head[:]))
	if n > limit {
		return nil, fmt.Errorf("a message of %d bytes is over the limit of %d", n, limit)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}
