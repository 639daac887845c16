//go:build linux

package exectest

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/exec"
)

// on puts a session on a private network.
func on(network string, names ...string) func(*exec.SessionSpec) {
	return func(s *exec.SessionSpec) { s.Network, s.Names = network, names }
}

// ask reads what a server says, with a program of the session.
func ask(t *testing.T, s exec.Session, host, port string) (string, bool) {
	t.Helper()
	out, code := Sh(t, s, fmt.Sprintf("busybox timeout 20 busybox nc %s %s </dev/null 2>/dev/null", host, port))
	return out, code == 0 && out != ""
}

// PrivateNetwork is what the services of a job need: server and client may be
// of different runtimes.
func PrivateNetwork(t *testing.T, server, client exec.Runtime) {
	name := ID()
	db := Networked(t, Open(t, server, on(name, "db", "database.test")))
	job := Networked(t, Open(t, client, on(name, "job")))
	stranger := Networked(t, Open(t, client, on(ID(), "db2")))
	outsider := Networked(t, Open(t, client))

	l, err := db.Listen(t.Context(), "tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	Serve(t, l, "hello from db\n")
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, host := range []string{"db", "database.test", "DB"} {
		if got, _ := ask(t, job, host, port); got != "hello from db\n" {
			t.Errorf("a program of the job hears %q from %s", got, host)
		}
	}
	if got, err := Read(t, job, "db:"+port); err != nil || got != "hello from db\n" {
		t.Errorf("dialled from the job: %q, %v", got, err)
	}
	// Without ports being opened, both ways.
	back, err := job.Listen(t.Context(), "tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	Serve(t, back, "hello from job\n")
	_, backPort, _ := net.SplitHostPort(back.Addr().String())
	if got, _ := ask(t, db, "job", backPort); got != "hello from job\n" {
		t.Errorf("the service hears %q", got)
	}

	addr := strings.Fields(Must(t, db, "busybox ip -o -4 addr show eth1 | busybox awk '{print $4}' | busybox cut -d/ -f1"))[0]
	for who, s := range map[string]exec.Networked{"another network": stranger, "no network": outsider} {
		for _, host := range []string{addr, "db"} {
			if got, ok := ask(t, s, host, port); ok {
				t.Errorf("a session of %s reaches %s: %q", who, host, got)
			}
		}
	}
	if c, err := net.Dial("tcp", net.JoinHostPort(addr, port)); err == nil {
		c.Close()
		t.Error("the machine itself reaches the private network")
	}
	if s, err := client.Open(t.Context(), exec.SessionSpec{ID: ID(), Workspace: t.TempDir(), Network: name, Names: []string{"db"}}); !errors.Is(err, problem.ErrExists) {
		if err == nil {
			s.Close()
		}
		t.Errorf("a second session of the same name: %v", err)
	}
	// The name is free again, and the others stay.
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	again := Networked(t, Open(t, server, on(name, "db")))
	if l, err = again.Listen(t.Context(), "tcp", "0.0.0.0:"+port); err != nil {
		t.Fatal(err)
	}
	Serve(t, l, "hello again\n")
	if got, _ := ask(t, job, "db", port); got != "hello again\n" {
		t.Errorf("the job hears %q from the service's successor", got)
	}
}
