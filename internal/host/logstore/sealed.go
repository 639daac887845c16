package logstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sort"

	"github.com/penstock-dev/penstock/internal/host/blob"
)

// sealed reads a log in a blob.
type sealed struct {
	store   blob.Store
	key     string
	index   index
	decoder *decoder
}

var _ Reader = (*sealed)(nil)

// tail is how much of the end of a blob is fetched to find its index.
const tail = 16 << 10

// OpenSealed opens the log that [Seal] put under key. It reads the index only.
func OpenSealed(ctx context.Context, store blob.Store, key string) (Reader, error) {
	x, err := readIndex(ctx, store, key)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	d, err := newDecoder()
	if err != nil {
		return nil, err
	}
	return &sealed{store: store, key: key, index: x, decoder: d}, nil
}

func readIndex(ctx context.Context, store blob.Store, key string) (index, error) {
	in, err := store.Stat(ctx, key)
	if err != nil {
		return index{}, err
	}
	b, err := fetch(ctx, store, key, max(in.Size-tail, 0), in.Size)
	if err != nil {
		return index{}, err
	}
	size, err := indexSize(b)
	if err == nil && size > in.Size {
		err = fmt.Errorf("%w: the index is larger than the log", ErrCorrupt)
	}
	if err != nil {
		return index{}, err
	}
	if size > int64(len(b)) {
		if b, err = fetch(ctx, store, key, in.Size-size, in.Size); err != nil {
			return index{}, err
		}
	}
	return parseIndex(b[int64(len(b))-size:], in.Size-size)
}

// fetch returns the bytes of a blob between two places.
func fetch(ctx context.Context, store blob.Store, key string, from, to int64) ([]byte, error) {
	r, _, err := store.Get(ctx, key, from, to-from)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b := make([]byte, to-from)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return b, nil
}

func (s *sealed) Close() error {
	s.decoder.close()
	return nil
}

func (s *sealed) Rows(context.Context) (int64, error) { return s.index.rows, nil }

func (s *sealed) Read(ctx context.Context, from, limit int64, emit func(int64, []byte) error) (int64, error) {
	if limit < 0 || limit > s.index.rows {
		limit = s.index.rows
	}
	if from < 0 || from >= s.index.rows || limit == 0 {
		return from, nil
	}
	last := min(from+limit, s.index.rows) - 1
	at, end := s.frame(from), s.frame(last)+1
	start := s.index.frames[at].offset
	body, _, err := s.store.Get(ctx, s.key, start, s.index.frames[end].offset-start)
	if err != nil {
		return from, err
	}
	defer body.Close()
	r := bufio.NewReaderSize(body, 64<<10)
	for ; at < end; at++ {
		first := s.index.frames[at].row
		text, err := s.next(r, first)
		if err != nil {
			return from, err
		}
		n, err := eachRow(text, first, from, last+1-from, emit)
		from += n
		if err != nil {
			return from, err
		}
	}
	return from, nil
}

// frame is the number of the frame that row is in.
func (s *sealed) frame(row int64) int {
	return sort.Search(len(s.index.frames), func(i int) bool { return s.index.frames[i].row > row }) - 1
}

// next reads the next frame of r, which begins with row first.
func (s *sealed) next(r io.Reader, first int64) ([]byte, error) {
	var b [headerSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return nil, short(err)
	}
	h, err := parseHeader(b[:])
	if err != nil {
		return nil, err
	}
	if h.first != uint64(first) {
		return nil, fmt.Errorf("%w: row %d where row %d should be", ErrCorrupt, h.first, first)
	}
	if _, err := io.ReadFull(r, s.decoder.room(h)); err != nil {
		return nil, short(err)
	}
	return s.decoder.decode(h)
}

// short says of a blob that ended too early that it is damaged.
func short(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends too early", ErrCorrupt)
	}
	return err
}
