package git

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// lockWait bounds how long a push waits for others to the same repository.
	lockWait = 5 * time.Minute
	// finishWait bounds what git may take once it has a whole push: resolving
	// deltas, checking objects, moving refs. Others wait meanwhile.
	finishWait = 15 * time.Minute
)

// tail is how much of a push is kept back until its turn: less than any end of
// a pack (a checksum) or of a list of commands (a flush). git cannot move a
// ref before it has it. So uploads run side by side, and ref updates one after
// another, each with its own event.
const tail = 4

// receive serves a push: it lets git's receive-pack do its work, records what
// changed, and only then lets the client know.
func (x *exchange) receive(ctx context.Context) {
	s := x.server
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	used, err := s.shared(ctx, x.route.repo)
	if err != nil {
		x.fail("open repository", err)
		return
	}
	cmd := x.backend(ctx)
	cmd.ExtraFiles = []*os.File{used}
	said := &head{max: 8 << 10}
	cmd.Stderr = said
	in, err := cmd.StdinPipe()
	if err != nil {
		used.Close()
		x.fail("start git", err)
		return
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	used.Close() // git has its own
	if err != nil {
		x.fail("start git", err)
		return
	}

	type turn struct {
		unlock func()
		limit  *time.Timer
		err    error
	}
	fed := make(chan turn, 1)
	go func() {
		var t turn
		t.err = feed(in, x.body, func() (err error) {
			wait, stop := context.WithTimeout(ctx, lockWait)
			defer stop()
			if t.unlock, err = s.lock(wait, x.route.repo); err != nil {
				return err
			}
			x.out.quick.Store(true)
			t.limit = time.AfterFunc(finishWait, cancel)
			return nil
		})
		if t.err != nil {
			cancel() // git must not take half a push for a whole one
		}
		in.Close()
		fed <- t
	}()

	r := bufio.NewReaderSize(out, 64<<10)
	ack := ack{w: x.out}
	err = x.copyHeader(r)
	if err == nil {
		err = ack.copy(r, &x.out.quick)
	}
	if err != nil {
		cancel()
	}
	err = errors.Join(err, cmd.Wait())
	t := <-fed
	if t.limit != nil {
		t.limit.Stop()
	}
	if t.err != nil {
		err = t.err
	}

	// From here on no git process of this push is alive.
	if t.unlock == nil {
		wait, stop := context.WithTimeout(context.WithoutCancel(ctx), lockWait)
		defer stop()
		var lockErr error
		if t.unlock, lockErr = s.lock(wait, x.route.repo); lockErr != nil {
			s.later(x.route.repo)
			x.explain(errors.Join(lockErr, err), said)
			return
		}
	}
	defer t.unlock()
	recordErr := x.finish(context.WithoutCancel(ctx), err != nil)
	switch {
	case recordErr != nil:
		s.log.Error("push is not recorded", "repo", x.route.repo, "error", recordErr)
		ack.refuse("the push is stored, but Penstock could not record it and will try again: " + recordErr.Error())
	case err != nil:
		x.explain(err, said)
	default:
		t.unlock()
		x.out.quick.Store(false)
		if err := ack.release(); err != nil {
			s.log.Debug("client did not take the answer to its push", "repo", x.route.repo, "error", err)
		}
	}
}

// finish records what the push changed. broken says that git did not end well.
func (x *exchange) finish(ctx context.Context, broken bool) error {
	s := x.server
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	name := x.route.repo
	if !s.exists(name) {
		return nil
	}
	if broken {
		s.clean(ctx, name)
	}
	if err := s.settle(ctx, name, x.user); err != nil {
		s.later(name)
		return err
	}
	s.grew(name)
	return nil
}

// clean removes the lock files of a git process that was killed, unless
// another is at work, whose own end or whose successor's removes them.
func (s *Server) clean(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	release, err := s.exclusive(ctx, name)
	if err != nil {
		return
	}
	defer release()
	if err := removeStaleLocks(s.dir(name)); err != nil {
		s.log.Warn("remove stale locks", "repo", name, "error", err)
	}
}

// later asks Run to record the repository's refs.
func (s *Server) later(name string) {
	s.mu.Lock()
	s.unsettled[name] = struct{}{}
	s.mu.Unlock()
	poke(s.wake)
}

// poke wakes whoever waits on c, now or when it next looks.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// feed copies body to git and closes nothing. Before the last bytes it calls
// ready. A git that stops reading is not an error here: it says why itself, and
// the rest of body is read so that the client gets to hear it.
func feed(git io.Writer, body io.Reader, ready func() error) error {
	buf := make([]byte, tail+64<<10)
	held := 0
	for {
		n, err := body.Read(buf[held:])
		held += n
		if pass := held - tail; pass > 0 {
			if _, werr := git.Write(buf[:pass]); werr != nil {
				if !brokenPipe(werr) {
					return werr
				}
				_, err = io.Copy(io.Discard, body)
				return err
			}
			held = copy(buf, buf[pass:held])
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read push: %w", err)
		}
	}
	if err := ready(); err != nil {
		return err
	}
	if _, err := git.Write(buf[:held]); err != nil && !brokenPipe(err) {
		return err
	}
	return nil
}

func brokenPipe(err error) bool { return errors.Is(err, syscall.EPIPE) || errors.Is(err, os.ErrClosed) }

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
