package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/gateway/route"
)

// A gateway that starts where another one runs takes the port over from it.
// They speak over the admin socket of the older one:
//
//	new  POST /v1/handover
//	old  one byte, with the listening socket and the lock of the directory as
//	     file descriptors; then its route table as a line of JSON
//	new  accepts connections; "ready"
//	old  stops accepting, watching and answering on the admin socket; "yours"
//	new  opens the admin socket and watches the cluster
//	old  answers what it has accepted, and ends
//
// Until "ready" the older one serves as if nothing had happened. Both hold the
// same listening socket, so no connection is refused or lost in between. The
// connection stays: its end tells the older one that its successor has ended,
// and the successor that the older one has.
const (
	handOverPath  = "/v1/handover"
	handOverMark  = 'P' // anything else is an HTTP answer of a gateway that cannot
	handOverReady = "ready\n"
	handOverYours = "yours\n"
	handOverStep  = 10 * time.Second // for each step of the other side
	handOverStart = 30 * time.Second // from the sockets to "ready"
)

// inherited is what a gateway begins with.
type inherited struct {
	ln    *net.TCPListener
	lock  *os.File
	table *route.Table // of the predecessor; may be nil
	conn  *net.UnixConn
	r     *bufio.Reader
	ended chan struct{} // closed when the predecessor has ended; after confirm
}

// takeOver asks the gateway that serves from dir for its sockets.
func takeOver(ctx context.Context, dir, domain string) (*inherited, error) {
	c, err := new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, adminSocket))
	if err != nil {
		return nil, fmt.Errorf("reach the running gateway: %w", err)
	}
	in := &inherited{conn: c.(*net.UnixConn)}
	if err := in.receive(domain); err != nil {
		in.release()
		return nil, err
	}
	return in, nil
}

// receive asks for the sockets and takes them.
func (in *inherited) receive(domain string) error {
	c := in.conn
	_ = c.SetDeadline(time.Now().Add(handOverStep))
	if _, err := io.WriteString(c, "POST "+handOverPath+" HTTP/1.1\r\nHost: gateway\r\nContent-Length: 0\r\n\r\n"); err != nil {
		return fmt.Errorf("ask the running gateway: %w", err)
	}
	mark, rights := make([]byte, 1), make([]byte, rightsSpace)
	n, rn, _, _, err := c.ReadMsgUnix(mark, rights)
	if err == nil && n == 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("the running gateway does not hand over: %w", err)
	}
	if mark[0] != handOverMark {
		return errors.New("the running gateway cannot hand over")
	}
	if err := in.adopt(rights[:rn]); err != nil {
		return err
	}
	in.r = bufio.NewReader(c)
	line, err := readLine(in.r, maxTableBytes)
	if err != nil {
		return fmt.Errorf("read the running gateway's routes: %w", err)
	}
	table := new(route.Table)
	if json.Unmarshal(line, &table) == nil && table != nil && table.Check(domain) == nil {
		in.table = table // one of another version is not for us: there is the disk
	}
	return nil
}

// adopt makes the file descriptors ours.
func (in *inherited) adopt(rights []byte) error {
	files, err := readRights(rights, "listener", "lock")
	if err != nil {
		return fmt.Errorf("take the running gateway's sockets: %w", err)
	}
	f := files[0]
	in.lock = files[1]
	defer f.Close()
	ln, err := net.FileListener(f)
	if err != nil {
		return fmt.Errorf("use the running gateway's socket: %w", err)
	}
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		ln.Close()
		return errors.New("the running gateway's socket is not of TCP")
	}
	in.ln = tcp
	return nil
}

// confirm tells the predecessor that we accept connections and waits until
// everything but what it has accepted is ours.
func (in *inherited) confirm() error {
	_ = in.conn.SetDeadline(time.Now().Add(handOverStep))
	if _, err := io.WriteString(in.conn, handOverReady); err != nil {
		return fmt.Errorf("take over: %w", err)
	}
	line, err := readLine(in.r, 64)
	if err != nil {
		return fmt.Errorf("take over: %w", err)
	}
	if string(line) != handOverYours {
		return fmt.Errorf("take over: the running gateway answered %q", line)
	}
	if err := in.conn.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("take over: %w", err)
	}
	in.ended = make(chan struct{})
	go func() {
		defer close(in.ended)
		_, _ = io.Copy(io.Discard, in.r)
	}()
	return nil
}

// alone says whether there is no predecessor any more.
func (in *inherited) alone() bool {
	if in == nil || in.ended == nil {
		return true
	}
	select {
	case <-in.ended:
		return true
	default:
		return false
	}
}

// hurry tells a predecessor that still drains to come to an end.
func (in *inherited) hurry() {
	if in != nil {
		_ = in.conn.CloseWrite()
	}
}

// leave waits for the end of the predecessor, at most for wait.
func (in *inherited) leave(wait time.Duration) {
	if in == nil {
		return
	}
	in.hurry()
	_ = in.conn.SetReadDeadline(time.Now().Add(wait))
	if in.ended != nil {
		<-in.ended
	}
	in.conn.Close()
}

func (in *inherited) release() {
	if in.ln != nil {
		in.ln.Close()
	}
	if in.lock != nil {
		in.lock.Close()
	}
	in.conn.Close()
}

// readLine reads a line with its end, of at most limit bytes.
func readLine(r *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > limit {
			return nil, errors.New("line too long")
		}
		if err == nil || !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// offer is the predecessor's side, up to "ready".
func offer(ctx context.Context, conn *net.UnixConn, r *bufio.Reader, ln *net.TCPListener, lock *os.File, table *route.Table) error {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	b, err := json.Marshal(table)
	if err != nil {
		return fmt.Errorf("encode routes: %w", err)
	}
	_ = conn.SetDeadline(time.Now().Add(handOverStart))
	err = withFD(ln, func(listener int) error {
		return withFD(lock, func(lock int) error {
			_, _, err := conn.WriteMsgUnix([]byte{handOverMark}, writeRights(listener, lock), nil)
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("send sockets: %w", err)
	}
	if _, err := conn.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("send routes: %w", err)
	}
	line, err := readLine(r, 64)
	if err != nil {
		return fmt.Errorf("wait for the successor: %w", err)
	}
	if string(line) != handOverReady {
		return fmt.Errorf("the successor says %q", line)
	}
	return conn.SetDeadline(time.Time{})
}

// withFD lends a file descriptor. (File.Fd would make it blocking, for both
// processes.)
func withFD(c interface {
	SyscallConn() (syscall.RawConn, error)
}, use func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var useErr error
	err = raw.Control(func(fd uintptr) { useErr = use(int(fd)) })
	return errors.Join(err, useErr)
}

// begin gives a gateway its lock and its port: from one that runs here already,
// when o.TakeOver is set, else new ones. in is nil in the second case.
func begin(ctx context.Context, o Options) (lock *os.File, ln *net.TCPListener, in *inherited, err error) {
	for try := 0; ; try++ {
		if lock, err = lockDir(o.Dir); err == nil {
			break
		}
		if !o.TakeOver || !errors.Is(err, problem.ErrExists) {
			return nil, nil, nil, err
		}
		if in, err = takeOver(ctx, o.Dir, o.Domain); err == nil {
			break
		}
		// It may have ended meanwhile, or be about to open its socket.
		if try == 20 || ctx.Err() != nil {
			return nil, nil, nil, &problem.Error{Op: "take over from the gateway in", Subject: o.Dir, Err: err, Hint: "penstock down, then penstock up"}
		}
		sleep(ctx, 100*time.Millisecond)
	}
	if in != nil && sameAddress(in.ln.Addr(), o.Listen) {
		return in.lock, in.ln, in, nil
	}
	if ln, err = listen(ctx, o.Listen); err != nil {
		if in != nil {
			in.release()
		} else {
			lock.Close()
		}
		return nil, nil, nil, err
	}
	if in != nil {
		in.ln.Close()
		lock = in.lock
	}
	return lock, ln, in, nil
}

// sameAddress says whether a socket answers where want says. Port 0 wants any.
func sameAddress(have net.Addr, want string) bool {
	host, port, err := net.SplitHostPort(want)
	if err != nil {
		return false
	}
	if port == "0" {
		return true
	}
	addr, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(host, port))
	tcp, ok := have.(*net.TCPAddr)
	if err != nil || !ok || tcp.Port != addr.Port {
		return false
	}
	if addr.IP == nil || addr.IP.IsUnspecified() {
		return tcp.IP.IsUnspecified()
	}
	return tcp.IP.Equal(addr.IP)
}

// handOver takes a request for the sockets off the admin server.
func (a *admin) handOver(ctx context.Context, w http.ResponseWriter) {
	c, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		answer(w, http.StatusInternalServerError, map[string]string{"detail": err.Error()})
		return
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return
	}
	select {
	case a.successors <- successor{conn, buf.Reader}:
	case <-ctx.Done():
		conn.Close()
	}
}

// successor is a gateway that asks for the sockets.
type successor struct {
	conn *net.UnixConn
	r    *bufio.Reader
}

// gone is closed when the successor has ended or wants us to.
func (s successor) gone() <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(io.Discard, s.r) // ends with the connection, which run closes
	}()
	return done
}

// loadFirst returns the table to begin with and when it was current.
func loadFirst(in *inherited, file, domain string) (t *route.Table, at time.Time, source string, err error) {
	if in != nil && in.table != nil {
		return in.table, time.Now(), "predecessor", nil
	}
	t, at, err = loadTable(file, domain)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, time.Time{}, "", nil
	}
	return t, at, "disk", err
}
