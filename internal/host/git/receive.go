package git

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

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
	gate, err := s.openGate(x.route.repo, x.user)
	if err != nil {
		used.Close()
		x.fail("prepare the checks", err)
		return
	}
	cmd := x.backend(ctx)
	cmd.Env = configure(cmd.Env, [2]string{"core.hooksPath", gate.dir})
	cmd.ExtraFiles = append([]*os.File{used}, gate.theirs...) // 3, 4 and 5
	said := &head{max: 8 << 10}
	cmd.Stderr = said
	in, err := cmd.StdinPipe()
	if err != nil {
		used.Close()
		gate.close()
		x.fail("start git", err)
		return
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	used.Close() // git has its own
	if err != nil {
		gate.close()
		x.fail("start git", err)
		return
	}
	gate.serve(ctx)

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
	reasons := gate.close()
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
		ack.explain(reasons)
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
