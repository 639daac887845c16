package logstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
)

const (
	frameTarget = 256 << 10 // text of a frame when there is enough of it
	maxFrame    = 4 << 20   // text of any frame: less than the target, a row, and its time
	headerSize  = 44
	version     = 1
)

// Magic numbers of skippable zstd frames: ours, out of the sixteen that exist.
const (
	magicRows  = 0x184D2A57
	magicIndex = 0x184D2A58
)

var (
	mark       = [4]byte{'P', 'L', 'O', 'G'}
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// header describes the frame of rows that follows it.
type header struct {
	first  uint64 // row
	rows   uint32
	raw    uint32 // bytes of text
	stored uint32 // bytes of the zstd frame
	sum    uint32 // CRC-32C of the zstd frame
}

// size is that of the frame with its header.
func (h header) size() int64 { return headerSize + int64(h.stored) }

func (h header) appendTo(b []byte) []byte {
	start := len(b)
	le := binary.LittleEndian
	b = le.AppendUint32(b, magicRows)
	b = le.AppendUint32(b, headerSize-8)
	b = append(b, mark[:]...)
	b = append(b, version, 0, 0, 0)
	b = le.AppendUint64(b, h.first)
	b = le.AppendUint32(b, h.rows)
	b = le.AppendUint32(b, h.raw)
	b = le.AppendUint32(b, h.stored)
	b = le.AppendUint32(b, h.sum)
	return le.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// parseHeader reads a header of headerSize bytes.
func parseHeader(b []byte) (header, error) {
	le := binary.LittleEndian
	if le.Uint32(b) != magicRows || le.Uint32(b[4:]) != headerSize-8 || !bytes.Equal(b[8:12], mark[:]) {
		return header{}, fmt.Errorf("%w: no frame where one should begin", ErrCorrupt)
	}
	if le.Uint32(b[headerSize-4:]) != crc32.Checksum(b[:headerSize-4], castagnoli) {
		return header{}, fmt.Errorf("%w: the header of a frame has changed", ErrCorrupt)
	}
	if b[12] != version {
		return header{}, fmt.Errorf("%w: format %d, this build knows %d", ErrCorrupt, b[12], version)
	}
	h := header{first: le.Uint64(b[16:]), rows: le.Uint32(b[24:]), raw: le.Uint32(b[28:]), stored: le.Uint32(b[32:]), sum: le.Uint32(b[36:])}
	if h.rows == 0 || h.raw > maxFrame || h.rows > h.raw || h.stored > 2*maxFrame || h.first > 1<<62 {
		return header{}, fmt.Errorf("%w: the header of a frame makes no sense", ErrCorrupt)
	}
	return h, nil
}

// encoder compresses frames. Its method has no state between calls.
var encoder = sync.OnceValues(func() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(frameTarget), zstd.WithEncoderCRC(false))
})

// appendFrame adds the frame of text, which holds rows whole rows, to b.
func appendFrame(b []byte, first uint64, rows int, text []byte) ([]byte, error) {
	e, err := encoder()
	if err != nil {
		return b, fmt.Errorf("compress: %w", err)
	}
	start := len(b)
	b = e.EncodeAll(text, append(b, make([]byte, headerSize)...))
	stored := b[start+headerSize:]
	h := header{first: first, rows: uint32(rows), raw: uint32(len(text)), stored: uint32(len(stored)), sum: crc32.Checksum(stored, castagnoli)}
	h.appendTo(b[:start])
	return b, nil
}

// decoder reads frames with the memory of one.
type decoder struct {
	zstd   *zstd.Decoder
	stored []byte
	text   []byte
}

func newDecoder() (*decoder, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxFrame))
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	return &decoder{zstd: z}, nil
}

func (d *decoder) close() { d.zstd.Close() }

// room returns a buffer for the zstd frame of h, valid until the next call.
func (d *decoder) room(h header) []byte {
	d.stored = slices.Grow(d.stored[:0], int(h.stored))[:h.stored]
	return d.stored
}

// decode returns the text of the frame in the buffer that room gave.
func (d *decoder) decode(h header) ([]byte, error) {
	if crc32.Checksum(d.stored, castagnoli) != h.sum {
		return nil, fmt.Errorf("%w: the frame of row %d has changed", ErrCorrupt, h.first)
	}
	text, err := d.zstd.DecodeAll(d.stored, slices.Grow(d.text[:0], int(h.raw)))
	if err != nil {
		return nil, fmt.Errorf("%w: the frame of row %d: %s", ErrCorrupt, h.first, err.Error())
	}
	d.text = text
	if len(text) != int(h.raw) || bytes.Count(text, newline) != int(h.rows) || text[len(text)-1] != '\n' {
		return nil, fmt.Errorf("%w: the frame of row %d is not what its header says", ErrCorrupt, h.first)
	}
	return text, nil
}

var newline = []byte{'\n'}

// rows hands the rows of a frame's text that begin at from to emit, at most
// limit (all when negative).
func eachRow(text []byte, first, from, limit int64, emit func(int64, []byte) error) (handed int64, err error) {
	for row := first; len(text) > 0; row++ {
		i := bytes.IndexByte(text, '\n')
		if row >= from {
			if limit >= 0 && handed >= limit {
				return handed, nil
			}
			if err := emit(row, text[:i]); err != nil {
				return handed, err
			}
			handed++
		}
		text = text[i+1:]
	}
	return handed, nil
}
