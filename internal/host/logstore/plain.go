package logstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// plain reads a log of lines of text. It has no index: a row is found by
// counting.
type plain struct {
	f         io.ReaderAt
	rows, end int64 // the whole lines that have been seen
}

// maxPlain bounds a line; those that were written are shorter.
const maxPlain = 2 * MaxRow

// plainBlock is how much is read at once.
const plainBlock = 64 << 10

// errEnough ends a reading that has found what it was for.
var errEnough = errors.New("enough")

func (p *plain) Rows(ctx context.Context) (int64, error) {
	err := p.lines(ctx, p.rows, p.end, func(int64, []byte) error { return nil })
	return p.rows, err
}

func (p *plain) Read(ctx context.Context, from, limit int64, emit func(int64, []byte) error) (int64, error) {
	row, offset := int64(0), int64(0)
	if from >= p.rows {
		row, offset = p.rows, p.end
	}
	err := p.lines(ctx, row, offset, func(row int64, line []byte) error {
		if row < from {
			return nil
		}
		if limit == 0 {
			return errEnough
		}
		if err := emit(row, line); err != nil {
			return err
		}
		from++
		limit--
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return from, err
}

// lines hands on the whole lines from a place on.
func (p *plain) lines(ctx context.Context, row, start int64, take func(int64, []byte) error) error {
	var line []byte
	block := make([]byte, plainBlock)
	for offset := start; ; {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n, err := p.f.ReadAt(block, offset)
		offset += int64(n)
		for b := block[:n]; len(b) > 0; {
			i := bytes.IndexByte(b, '\n')
			if i < 0 {
				line = append(line, b...)
				if len(line) > maxPlain {
					return fmt.Errorf("%w: a line of more than %d bytes", ErrCorrupt, maxPlain)
				}
				break
			}
			line = append(line, b[:i]...)
			if err := take(row, line); err != nil {
				return err
			}
			row, start = row+1, start+int64(len(line))+1
			line, b = line[:0], b[i+1:]
			if row > p.rows {
				p.rows, p.end = row, start
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
