//go:build linux

package exectest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/exec"
)

// Networked is s as one whose network can be used from here.
func Networked(t *testing.T, s exec.Session) exec.Networked {
	t.Helper()
	n, ok := s.(exec.Networked)
	if !ok {
		t.Fatalf("%T has no network that can be used from here", s)
	}
	return n
}

// Serve answers every connection to l with the text, until the test's end.
func Serve(t *testing.T, l net.Listener, text string) {
	t.Helper()
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, text)
			c.Close()
		}
	}()
}

// Read dials from inside the session and returns all that the other side says.
func Read(t *testing.T, s exec.Networked, addr string) (string, error) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	c, err := s.Dial(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(io.LimitReader(c, 1<<10))
	return string(data), err
}

// reach uses a session's network from outside.
func reach(t *testing.T, rt exec.Runtime) {
	s := Networked(t, Open(t, rt))
	l, err := s.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	Serve(t, l, "from the test")
	if got, err := Read(t, s, l.Addr().String()); err != nil || got != "from the test" {
		t.Errorf("got %q, %v", got, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Accept(); err == nil {
		t.Error("the listener outlives the session")
	}
	if _, err := s.Listen(t.Context(), "tcp", "127.0.0.1:0"); rt.Name() != "process" && err == nil {
		t.Error("a closed session listens")
	}
}

// start runs a command beside others.
func start(t *testing.T, rt exec.Runtime) {
	s := Open(t, rt)
	service := exec.Start(t.Context(), s, exec.Command{Args: []string{"sh", "-c", "while [ ! -e stop ]; do sleep 0.05; done; exit 3"}, Env: s.Env()})
	Must(t, s, "true")
	select {
	case <-service.Done():
		t.Fatal("it has ended")
	default:
	}
	Must(t, s, "touch stop")
	if code, err := service.Wait(); code != 3 || err != nil {
		t.Errorf("it ended with %d, %v", code, err)
	}
	missing := exec.Start(t.Context(), s, exec.Command{Args: []string{"/no/such/program"}, Env: s.Env()})
	if _, err := missing.Wait(); !errors.Is(err, problem.ErrNotFound) {
		t.Errorf("a missing program: %v", err)
	}
	forever := exec.Start(t.Context(), s, exec.Command{Args: []string{"sleep", newMark()}, Env: s.Env()})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if code, err := forever.Wait(); err == nil && code == 0 {
		t.Error("a service that the session's end has ended was successful")
	}
}

// standardFiles are the names that scripts use for their own streams.
func standardFiles(t *testing.T, rt exec.Runtime) {
	s := Open(t, rt)
	var out, errw bytes.Buffer
	code, err := s.Run(t.Context(), exec.Command{
		Args: []string{"sh", "-c", "echo o > /dev/stdout; echo e > /dev/stderr; echo p > /proc/self/fd/1"}, Env: s.Env(), Stdout: &out, Stderr: &errw,
	})
	if err != nil || code != 0 || out.String() != "o\np\n" || errw.String() != "e\n" {
		t.Errorf("got %q, %q, %d, %v", out.String(), errw.String(), code, err)
	}
}
