package logstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"time"

	"github.com/penstock-dev/penstock/internal/host/blob"
)

// Seal puts the log in the file at path into the blob store under key, in
// frames of even size with an index of its rows. Nobody may be writing it any
// more. What cannot be read of a damaged log is replaced by a row that says
// so. It returns the number of rows.
func Seal(ctx context.Context, path string, store blob.Store, key string) (rows int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	r, err := newFile(f)
	if err != nil {
		f.Close()
		return 0, err
	}
	defer r.Close()
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	s := &sealer{w: pw}
	go func() {
		err := s.seal(ctx, r)
		pw.CloseWithError(err)
		done <- err
	}()
	_, err = store.Put(ctx, key, pr, blob.Expect{})
	pr.CloseWithError(errors.Join(err, io.ErrClosedPipe)) // ends the sealer when Put has not read everything
	if serr := <-done; err == nil {
		err = serr
	}
	if err != nil {
		return 0, fmt.Errorf("seal log: %w", err)
	}
	return s.index.rows, nil
}

// Damage is the row that stands in place of what cannot be read.
func Damage(now time.Time, why error) string {
	return fmt.Sprintf("%s ##[warning]What follows cannot be shown: %s.", now.UTC().Format(rowTime), why)
}

// sealer copies rows into frames.
type sealer struct {
	w     io.Writer
	index index
	text  []byte
	rows  int
	frame []byte
}

func (s *sealer) seal(ctx context.Context, r *file) error {
	_, err := r.Read(ctx, 0, -1, func(_ int64, text []byte) error { return s.row(text) })
	if errors.Is(err, ErrCorrupt) {
		err = s.row([]byte(Damage(time.Now(), err)))
	}
	if err == nil {
		err = s.flush()
	}
	if err == nil {
		_, err = s.w.Write(s.index.append(nil))
	}
	return err
}

func (s *sealer) row(text []byte) error {
	s.text = append(append(s.text, text...), '\n')
	s.rows++
	if len(s.text) < frameTarget {
		return nil
	}
	return s.flush()
}

func (s *sealer) flush() (err error) {
	if s.rows == 0 {
		return nil
	}
	s.frame, err = appendFrame(s.frame[:0], uint64(s.index.rows), s.rows, s.text)
	if err != nil {
		return err
	}
	s.index.add(s.rows, len(s.text), len(s.frame))
	s.text, s.rows = s.text[:0], 0
	_, err = s.w.Write(s.frame)
	return err
}

// index says where the rows of a sealed log are. It is a skippable zstd frame
// at the end of the blob.
type index struct {
	frames []indexed
	rows   int64
	text   int64 // bytes
}

// indexed is one frame: its rows begin at row, its header at offset.
type indexed struct{ row, offset int64 }

const (
	indexEntry   = 12 // rows (4 bytes) and size with header (8) of a frame
	indexTrailer = 32 // number of frames, rows, text, CRC, mark
	maxIndex     = 64 << 20
)

var indexMark = [8]byte{'P', 'L', 'O', 'G', 'E', 'N', 'D', version}

// add takes note of a frame.
func (x *index) add(rows, text, stored int) {
	end := int64(0)
	if n := len(x.frames); n > 0 {
		end = x.frames[n-1].offset
	} else {
		x.frames = append(x.frames, indexed{0, 0})
	}
	x.rows += int64(rows)
	x.text += int64(text)
	x.frames = append(x.frames, indexed{x.rows, end + int64(stored)})
}

// append writes the index. frames holds one entry more than there are frames:
// the place where the next one would begin.
func (x *index) append(b []byte) []byte {
	le := binary.LittleEndian
	n := max(len(x.frames)-1, 0)
	b = le.AppendUint32(b, magicIndex)
	b = le.AppendUint32(b, uint32(n*indexEntry+indexTrailer))
	start := len(b)
	for i := range n {
		b = le.AppendUint32(b, uint32(x.frames[i+1].row-x.frames[i].row))
		b = le.AppendUint64(b, uint64(x.frames[i+1].offset-x.frames[i].offset))
	}
	b = le.AppendUint32(b, uint32(n))
	b = le.AppendUint64(b, uint64(x.rows))
	b = le.AppendUint64(b, uint64(x.text))
	b = le.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
	return append(b, indexMark[:]...)
}

// indexSize is the size of the index whose trailer ends b.
func indexSize(b []byte) (int64, error) {
	if len(b) < indexTrailer || [8]byte(b[len(b)-8:]) != indexMark {
		return 0, fmt.Errorf("%w: it has no index", ErrCorrupt)
	}
	n := int64(binary.LittleEndian.Uint32(b[len(b)-indexTrailer:]))
	if n*indexEntry > maxIndex {
		return 0, fmt.Errorf("%w: an index of %d frames", ErrCorrupt, n)
	}
	return 8 + n*indexEntry + indexTrailer, nil
}

// parseIndex reads an index; before is the number of bytes before it.
func parseIndex(b []byte, before int64) (index, error) {
	le := binary.LittleEndian
	bad := func(why string) (index, error) { return index{}, fmt.Errorf("%w: %s", ErrCorrupt, why) }
	if le.Uint32(b) != magicIndex || int(le.Uint32(b[4:])) != len(b)-8 {
		return bad("no index where it should begin")
	}
	body, trailer := b[8:], b[len(b)-indexTrailer:]
	if le.Uint32(trailer[20:]) != crc32.Checksum(body[:len(body)-12], castagnoli) {
		return bad("the index has changed")
	}
	n := int(le.Uint32(trailer))
	x := index{frames: make([]indexed, 1, n+1), rows: int64(le.Uint64(trailer[4:])), text: int64(le.Uint64(trailer[12:]))}
	at := indexed{}
	for i := range n {
		e := body[i*indexEntry:]
		rows, size := int64(le.Uint32(e)), int64(le.Uint64(e[4:]))
		if rows == 0 || size <= headerSize || size > headerSize+2*maxFrame {
			return bad("the index makes no sense")
		}
		at.row, at.offset = at.row+rows, at.offset+size
		x.frames = append(x.frames, at)
	}
	if at.row != x.rows || at.offset != before {
		return bad("the index is of another log")
	}
	return x, nil
}
