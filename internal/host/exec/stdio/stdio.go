//go:build unix

// Package stdio connects a command's standard streams with readers and writers
// of ours. It differs from what os/exec does in one point: a process that a
// command leaves in the background keeps its output (a server that a step
// starts for the next one would otherwise die of its first log line), yet the
// command's end does not wait for it.
package stdio

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock-dev/penstock/internal/host/exec"
)

const (
	// linger is how long output of descendants is waited for after the
	// command's own end: the reading side of a shell's process substitution
	// ends a moment after the shell.
	linger = 200 * time.Millisecond
	// drainLimit bounds the reading of what a background process writes
	// without pause.
	drainLimit = 10 * time.Second
	bufSize    = 32 << 10
)

// Streams are the three streams of one command.
type Streams struct {
	In, Out, Err *os.File // the command's ends; Given closes them

	stdin   *os.File // our end, nil without input
	outputs []*output
	owner   *sync.WaitGroup
	done    <-chan struct{}
}

// New opens the streams. The goroutines that serve them are counted in owner
// and end, at the latest, when done is closed.
func New(cmd exec.Command, owner *sync.WaitGroup, done <-chan struct{}) (s *Streams, err error) {
	s = &Streams{owner: owner, done: done}
	defer func() {
		if err != nil {
			s.Given()
			err = errors.Join(err, s.Finish())
		}
	}()
	if cmd.Stdin == nil {
		if s.In, err = os.Open(os.DevNull); err != nil {
			return nil, err
		}
	} else if err = s.input(cmd.Stdin); err != nil {
		return nil, err
	}
	if s.Out, err = s.output(cmd.Stdout); err != nil {
		return nil, err
	}
	if same(cmd.Stdout, cmd.Stderr) {
		s.Err = s.Out // one pipe, so that the order of the lines is kept
		return s, nil
	}
	s.Err, err = s.output(cmd.Stderr)
	return s, err
}

// Chown gives the command's ends to a user, so that it may open them by their
// names (/dev/stderr) as well. It comes before Given.
func (s *Streams) Chown(uid, gid int) error {
	for _, f := range []*os.File{s.In, s.Out, s.Err} {
		fi, err := f.Stat()
		if err == nil && fi.Mode()&os.ModeNamedPipe != 0 { // not /dev/null, which is everybody's
			err = f.Chown(uid, gid)
		}
		if err != nil {
			return fmt.Errorf("hand over streams: %w", err)
		}
	}
	return nil
}

// same says whether both are one writer. Writers of uncomparable types are not.
func same(a, b io.Writer) (yes bool) {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	defer func() {
		if recover() != nil { // comparing uncomparable dynamic types
			yes = false
		}
	}()
	return a == b
}

func (s *Streams) input(r io.Reader) error {
	ours, err := s.pipe(&s.In, false)
	if err != nil {
		return err
	}
	s.stdin = ours
	// Not counted in owner: only the caller can end a read from its reader.
	go func() {
		_, _ = io.Copy(ours, r) // the command need not read all of it
		ours.Close()
	}()
	return nil
}

// pipe makes a pipe, puts the command's end, blocking, into theirs and returns
// ours.
func (s *Streams) pipe(theirs **os.File, weRead bool) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	ours, other := w, r
	if weRead {
		ours, other = r, w
	}
	*theirs = other
	return ours, unix.SetNonblock(int(other.Fd()), false)
}

func (s *Streams) output(w io.Writer) (*os.File, error) {
	if w == nil {
		return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	}
	var theirs *os.File
	ours, err := s.pipe(&theirs, true)
	if err != nil {
		return theirs, err
	}
	o := &output{r: ours, w: w, eof: make(chan struct{})}
	s.outputs = append(s.outputs, o)
	s.owner.Go(o.copy)
	return theirs, nil
}

// Given closes the command's ends here, once the command has them.
func (s *Streams) Given() {
	for _, f := range []*os.File{s.In, s.Out, s.Err} {
		if f != nil {
			f.Close() // twice for a shared pipe, which is harmless
		}
	}
}

// Finish is called after the command's end. It returns when everything the
// command wrote has reached the writers, which are not used afterwards, and
// says when a writer failed.
func (s *Streams) Finish() error {
	if s.stdin != nil {
		s.stdin.Close()
	}
	var errs []error
	for _, o := range s.outputs {
		errs = append(errs, o.finish(s.done))
		s.owner.Go(func() {
			select {
			case <-o.eof:
			case <-s.done:
			}
			o.r.Close()
		})
	}
	return errors.Join(errs...)
}

// output is one pipe from the command to a writer.
type output struct {
	r   *os.File
	eof chan struct{} // closed when nobody can write any more

	mu  sync.Mutex
	w   io.Writer // nil once it must not be used any more
	err error     // of w
}

func (o *output) copy() {
	defer close(o.eof)
	buf := make([]byte, bufSize)
	for {
		n, err := o.r.Read(buf)
		if n > 0 {
			o.write(buf[:n])
		}
		if err != nil {
			return
		}
	}
}

// write passes p on. After a failure the command may go on, its output is
// dropped and the failure reported at its end.
func (o *output) write(p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.w == nil || o.err != nil {
		return
	}
	if _, err := o.w.Write(p); err != nil {
		o.err = fmt.Errorf("write output: %w", err)
	}
}

func (o *output) finish(done <-chan struct{}) error {
	end := time.Now().Add(drainLimit)
	wait := time.NewTimer(linger)
	defer wait.Stop()
	for open := true; open; {
		select {
		case <-o.eof:
			open = false
		case <-done:
			open = false
		case <-wait.C:
			open = o.pending() && time.Now().Before(end)
			wait.Reset(time.Millisecond)
		}
	}
	o.mu.Lock() // waits for a write in progress
	defer o.mu.Unlock()
	o.w = nil
	return o.err
}

// pending says whether the pipe holds something unread.
func (o *output) pending() bool {
	conn, err := o.r.SyscallConn()
	if err != nil {
		return false
	}
	n := 0
	if err := conn.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unreadRequest) }); err != nil {
		return false // closed
	}
	return err == nil && n > 0
}
