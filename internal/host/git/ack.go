package git

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
)

// maxAck bounds the answer to a push that is kept back: a line for each ref.
const maxAck = 64 << 20

// ack keeps back the part of receive-pack's answer that says what became of the
// push, and lets progress through.
type ack struct {
	w        *paced
	early    []byte // progress from before the client was listening
	held     []byte
	sideband bool // the client understands messages beside the answer
	gone     bool // it does not take them any more; the push goes on
}

// copy reads all of the answer, in pkt-lines, and passes progress on once all
// of the request is read: with its first word of answer net/http throws away
// what is left of a request.
func (a *ack) copy(r *bufio.Reader, listening *atomic.Bool) error {
	for {
		pkt, err := readPkt(r)
		switch {
		case len(pkt) == 0:
		case len(a.early)+len(a.held)+len(pkt) > maxAck:
			return errTooLarge
		case len(a.held) > 0 || !isProgress(pkt):
			a.sideband = a.sideband || len(pkt) > 4 && pkt[4] == 1
			a.held = append(a.held, pkt...)
		default:
			a.sideband = true
			a.early = append(a.early, pkt...)
			if listening.Load() {
				a.progress()
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

// progress sends the messages that came so far.
func (a *ack) progress() {
	if len(a.early) > 0 && !a.gone {
		_, err := a.w.Write(a.early)
		a.gone = err != nil
	}
	a.early = a.early[:0]
}

// isProgress says whether pkt is a message for the user or a sign of life.
func isProgress(pkt []byte) bool {
	return len(pkt) > 4 && pkt[4] == 2 || len(pkt) == 5 && pkt[4] == 1
}

// readPkt reads one pkt-line with its length, or whatever else comes.
func readPkt(r *bufio.Reader) ([]byte, error) {
	pkt := make([]byte, 4, 64)
	n, err := io.ReadFull(r, pkt)
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = io.EOF
		}
		return pkt[:n], err
	}
	size := 0
	for _, c := range pkt {
		switch {
		case c >= '0' && c <= '9':
			size = size<<4 + int(c-'0')
		case c >= 'a' && c <= 'f':
			size = size<<4 + int(c-'a') + 10
		default:
			return pkt, nil // no pkt-line, so no progress: kept back as it is
		}
	}
	if size <= 4 {
		return pkt, nil
	}
	pkt = append(pkt, make([]byte, size-4)...)
	n, err = io.ReadFull(r, pkt[4:])
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return pkt[:4+n], err
}

// release sends what was kept back.
func (a *ack) release() error {
	a.progress()
	if len(a.held) == 0 {
		return nil
	}
	_, err := a.w.Write(a.held)
	return err
}

// refuse ends the answer with an error in place of what was kept back.
func (a *ack) refuse(msg string) {
	if a.sideband {
		a.progress()
		_, _ = fmt.Fprintf(a.w, "%04x\x03%s\n", len(msg)+6, msg)
		return
	}
	if a.w.out.Load() == 0 {
		answer(a.w.w, http.StatusInternalServerError, msg)
	}
}

// maxBand is how much of the answer fits into a packet for every client: those
// that know only the small band take 1,000 bytes with its header.
const maxBand = 995

// explain gives refs that a hook refused the reasons behind it, by ref. What
// git can say is only which hook it was.
func (a *ack) explain(reasons map[string]string) {
	if len(reasons) == 0 || len(a.held) == 0 {
		return
	}
	report, rest, ok := unband(a.held, a.sideband)
	if !ok {
		return // not what we know: git's own words are right, if not helpful
	}
	report, ok = rewriteReport(report, reasons)
	if !ok {
		return
	}
	if !a.sideband {
		a.held = report
		return
	}
	var b bytes.Buffer
	b.Write(rest)
	for chunk := range slices.Chunk(report, maxBand) {
		fmt.Fprintf(&b, "%04x\x01%s", len(chunk)+5, chunk)
	}
	b.WriteString("0000")
	a.held = b.Bytes()
}

// unband takes the report out of the packets it came in. rest are the packets
// of messages among them.
func unband(held []byte, sideband bool) (report, rest []byte, ok bool) {
	if !sideband {
		return held, nil, true
	}
	r := bufio.NewReader(bytes.NewReader(held))
	for {
		pkt, err := readPkt(r)
		switch {
		case errors.Is(err, io.EOF) && len(pkt) == 0:
			return report, rest, true
		case err != nil, len(pkt) < 4:
			return nil, nil, false
		case len(pkt) == 4:
			if string(pkt) != "0000" {
				return nil, nil, false
			}
		case pkt[4] == 1:
			report = append(report, pkt[5:]...)
		case pkt[4] == 2:
			rest = append(rest, pkt...)
		default:
			return nil, nil, false
		}
	}
}

// rewriteReport replaces the reasons of the refs in a report-status.
func rewriteReport(report []byte, reasons map[string]string) ([]byte, bool) {
	r := bufio.NewReader(bytes.NewReader(report))
	var b bytes.Buffer
	for {
		pkt, err := readPkt(r)
		if errors.Is(err, io.EOF) && len(pkt) == 0 {
			return b.Bytes(), true
		}
		if err != nil || len(pkt) < 4 {
			return nil, false
		}
		line, isRefusal := strings.CutPrefix(string(pkt[4:]), "ng ")
		ref, why, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if reason := reasons[ref]; isRefusal && reason != "" && (why == "hook declined" || why == "pre-receive hook declined") {
			text := "ng " + ref + " " + reason + "\n"
			fmt.Fprintf(&b, "%04x%s", len(text)+4, text)
			continue
		}
		b.Write(pkt)
	}
}
