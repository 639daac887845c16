//go:build unix

package storetest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Server is a PostgreSQL server of a test's own: in a directory of its own, on
// a unix socket only, as a user without rights.
type Server struct {
	Dir     string
	process *os.Process
	alive   *os.File // closed by our end, however we end
}

// errNone says that PostgreSQL is not installed.
var errNone = errors.New("PostgreSQL is not installed (scripts/setup does that)")

// script runs the server until its standard input ends, which it does when the
// test's process is gone in whatever way, and then removes the directory. For
// each line of input the server is ended at once, and another one started,
// which has to recover.
const script = `
"$1/postgres" -D "$2/data" >"$2/log" 2>&1 &
pid=$!
while read -r line; do
	kill -QUIT $pid
	wait $pid
	"$1/postgres" -D "$2/data" >>"$2/log" 2>&1 &
	pid=$!
	echo $pid >"$2/again"
done
kill -INT $pid 2>/dev/null
wait $pid
cd / && rm -rf "$2"
`

// Start starts a server that lives until [Server.Stop], and no longer than
// this process.
func Start() (*Server, error) {
	bin, err := find()
	if err != nil {
		return nil, err
	}
	who, err := nobody()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("/tmp", "pg-") // short, for it holds a socket, and where nobody can go
	if err != nil {
		return nil, err
	}
	s := &Server{Dir: dir}
	if err := s.start(bin, who); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

func (s *Server) start(bin string, who *syscall.Credential) error {
	if who != nil {
		if err := os.Chown(s.Dir, int(who.Uid), int(who.Gid)); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	attr := &syscall.SysProcAttr{Credential: who, Setpgid: true}
	// The user's language must not decide how text is ordered, and nothing
	// here has to survive a power cut.
	init := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", filepath.Join(s.Dir, "data"), "-U", "penstock", "-A", "trust",
		"-E", "UTF8", "--no-locale", "--no-sync", "--no-instructions") //nolint:gosec // a program of the system
	init.SysProcAttr, init.Dir = attr, s.Dir
	if out, err := init.CombinedOutput(); err != nil {
		return fmt.Errorf("make a PostgreSQL database: %w\n%s", err, out)
	}
	conf := fmt.Sprintf("listen_addresses = ''\nunix_socket_directories = '%s'\nfsync = off\nshared_buffers = 16MB\nmax_connections = 200\ndynamic_shared_memory_type = mmap\n", s.Dir)
	f, err := os.OpenFile(filepath.Join(s.Dir, "data", "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(conf)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return s.run(ctx, bin, attr)
}

func (s *Server) run(ctx context.Context, bin string, attr *syscall.SysProcAttr) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command("/bin/sh", "-c", script, "sh", bin, s.Dir) //nolint:gosec,noctx // it ends by its input
	cmd.Stdin, cmd.Dir, cmd.SysProcAttr = r, s.Dir, attr
	if err := cmd.Start(); err != nil {
		return errors.Join(err, w.Close())
	}
	s.process, s.alive = cmd.Process, w
	return s.wait(ctx)
}

// Crash ends the server as a power cut of it alone would, and returns when it
// has recovered.
func (s *Server) Crash() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	mark := filepath.Join(s.Dir, "again")
	_ = os.Remove(mark)
	if _, err := s.alive.WriteString("crash\n"); err != nil {
		return err
	}
	for {
		if _, err := os.Stat(mark); err == nil {
			return s.wait(ctx)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("end PostgreSQL: %w", ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// wait returns when the server answers.
func (s *Server) wait(ctx context.Context) error {
	for {
		conn, err := pgx.Connect(ctx, s.URL(""))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-ctx.Done():
			log, _ := os.ReadFile(filepath.Join(s.Dir, "log"))
			return fmt.Errorf("wait for PostgreSQL: %w\n%s", err, log)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// URL is where schema of the server's database is; the usual one when empty.
func (s *Server) URL(schema string) string {
	q := url.Values{"host": {s.Dir}, "user": {"penstock"}, "sslmode": {"disable"}}
	if schema != "" {
		q.Set("search_path", schema)
	}
	return "postgres:///postgres?" + q.Encode()
}

// Schema makes an empty schema, unless it is there, and returns its URL.
func (s *Server) Schema(ctx context.Context, name string) (string, error) {
	conn, err := pgx.Connect(ctx, s.URL(""))
	if err != nil {
		return "", err
	}
	_, err = conn.Exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+pgx.Identifier{name}.Sanitize())
	return s.URL(name), errors.Join(err, conn.Close(ctx))
}

// Stop ends the server and removes what it left.
func (s *Server) Stop() {
	if s.alive != nil {
		s.alive.Close()
		_, _ = s.process.Wait()
		s.alive = nil
	}
	_ = os.RemoveAll(s.Dir)
}

// find returns the directory of PostgreSQL's programs, the newest where there
// are several. Debian keeps them out of PATH.
func find() (string, error) {
	dirs, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	version := func(p string) int {
		n, _ := strconv.Atoi(strings.Split(p, "/")[4])
		return n
	}
	sort.Slice(dirs, func(i, j int) bool { return version(dirs[i]) > version(dirs[j]) })
	if len(dirs) > 0 {
		return filepath.Dir(dirs[0]), nil
	}
	if p, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(p), nil
	}
	return "", errNone
}

// nobody is who runs the server, which refuses to be run by root; nil for
// ourselves.
func nobody() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("neither a user postgres nor nobody is there to run PostgreSQL as")
}
