package exec

import "context"

// Running is a command that runs beside others: a service that a job needs.
type Running struct {
	done chan struct{}
	code int
	err  error
}

// Start runs the command and does not wait for it. What kept it from starting
// is told by Wait. It ends with ctx, as in [Session.Run], or with the session.
func Start(ctx context.Context, s Session, cmd Command) *Running {
	r := &Running{done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.code, r.err = s.Run(ctx, cmd)
	}()
	return r
}

// Done is closed when the command has ended.
func (r *Running) Done() <-chan struct{} { return r.done }

// Wait waits for the command's end and returns what Run returned.
func (r *Running) Wait() (code int, err error) {
	<-r.done
	return r.code, r.err
}
