package logstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
)

// file reads a log that may still be written.
type file struct {
	f       *os.File
	sniffed bool   // plain is set when it has to be
	plain   *plain // for a file of lines, as versions before the format wrote them
	decoder *decoder

	// What has been seen: rows rows in the bytes up to end, and where some of
	// the frames begin.
	rows, end int64
	marks     []place
	every     int // frames between two marks
	since     int // frames after the last one
}

// place is where a row begins.
type place struct{ row, offset int64 }

var _ Reader = (*file)(nil)

// maxMarks bounds the memory of an index; beyond it every other mark goes.
const maxMarks = 4096

// OpenFile opens the log in the file at path, which may be growing: each call
// of Rows and Read sees what is there by then.
func OpenFile(path string) (Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r, err := newFile(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return r, nil
}

func newFile(f *os.File) (*file, error) {
	d, err := newDecoder()
	if err != nil {
		return nil, err
	}
	return &file{f: f, decoder: d, every: 1}, nil
}

// sniff finds out what kind of file it is, once there is something in it.
func (r *file) sniff() error {
	if r.sniffed {
		return nil
	}
	var b [1]byte
	n, err := r.f.ReadAt(b[:], 0)
	if n == 0 {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
	r.sniffed = true
	if b[0] >= '0' && b[0] <= '9' { // a time; the magic number's first byte is W
		r.plain = &plain{f: r.f}
	}
	return nil
}

func (r *file) Close() error {
	r.decoder.close()
	return r.f.Close()
}

// header reads the header at offset. One that says no rows is the end: there
// is nothing, or not all of a frame yet.
func (r *file) header(offset int64) (header, error) {
	var b [headerSize]byte
	n, err := r.f.ReadAt(b[:], offset)
	if n < headerSize {
		if errors.Is(err, io.EOF) {
			return header{}, nil
		}
		return header{}, err
	}
	if binary.LittleEndian.Uint32(b[:]) == magicIndex {
		return header{}, nil // a sealed log that was copied into a file
	}
	h, err := parseHeader(b[:])
	if err != nil {
		return h, err
	}
	fi, err := r.f.Stat()
	if err != nil {
		return h, err
	}
	if offset+h.size() > fi.Size() {
		return header{}, nil
	}
	return h, nil
}

// frame returns the text of the frame at offset.
func (r *file) frame(offset int64, h header) ([]byte, error) {
	if _, err := r.f.ReadAt(r.decoder.room(h), offset+headerSize); err != nil {
		return nil, err
	}
	return r.decoder.decode(h)
}

// scan takes note of the frames that came since.
func (r *file) scan(ctx context.Context) error {
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		h, err := r.header(r.end)
		if err != nil || h.rows == 0 {
			return err
		}
		if h.first != uint64(r.rows) {
			return fmt.Errorf("%w: row %d follows row %d", ErrCorrupt, h.first, r.rows)
		}
		r.note(h)
	}
}

// note takes note of the frame that begins at r.end.
func (r *file) note(h header) {
	if r.since == 0 {
		if len(r.marks) == maxMarks {
			for i := range maxMarks / 2 {
				r.marks[i] = r.marks[2*i]
			}
			r.marks = r.marks[:maxMarks/2]
			r.every *= 2
		}
		r.marks = append(r.marks, place{r.rows, r.end})
	}
	r.since = (r.since + 1) % r.every
	r.rows += int64(h.rows)
	r.end += h.size()
}

func (r *file) Rows(ctx context.Context) (int64, error) {
	if err := r.sniff(); err != nil {
		return 0, err
	}
	if r.plain != nil {
		return r.plain.Rows(ctx)
	}
	err := r.scan(ctx)
	if errors.Is(err, ErrCorrupt) {
		err = nil // it has the rows before; who reads beyond them is told
	}
	return r.rows, err
}

func (r *file) Read(ctx context.Context, from, limit int64, emit func(int64, []byte) error) (int64, error) {
	if err := r.sniff(); err != nil {
		return from, err
	}
	if r.plain != nil {
		return r.plain.Read(ctx, from, limit, emit)
	}
	damage := r.scan(ctx)
	if damage != nil && !errors.Is(damage, ErrCorrupt) {
		return from, damage
	}
	at := r.place(from)
	for at.row < r.rows && limit != 0 {
		if err := context.Cause(ctx); err != nil {
			return from, err
		}
		h, err := r.header(at.offset)
		if err != nil {
			return from, err
		}
		next := place{at.row + int64(h.rows), at.offset + h.size()}
		if next.row > from {
			text, err := r.frame(at.offset, h)
			if err != nil {
				return from, err
			}
			n, err := eachRow(text, at.row, from, limit, emit)
			from += n
			if limit > 0 {
				limit -= n
			}
			if err != nil {
				return from, err
			}
		}
		at = next
	}
	if limit == 0 {
		return from, nil
	}
	return from, damage
}

// place returns the last known beginning of a frame at or before row.
func (r *file) place(row int64) place {
	i := sort.Search(len(r.marks), func(i int) bool { return r.marks[i].row > row })
	if i == 0 {
		return place{}
	}
	return r.marks[i-1]
}
