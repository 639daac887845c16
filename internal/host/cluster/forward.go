package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream" //nolint:staticcheck // deprecated, and what client-go itself takes
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// forward connects to a port of a Pod through the API server, as
// `kubectl port-forward` does, without a port on this machine.
func (c *Cluster) forward(ctx context.Context, t target) (net.Conn, error) {
	if t.pod == "" {
		return nil, fmt.Errorf("%w: %s is no Pod, and this machine is not on the cluster's network", problem.ErrInvalid, t.ip)
	}
	dialer, err := c.podDialer(t)
	if err != nil {
		return nil, fmt.Errorf("forward to pod %s/%s: %w", t.namespace, t.pod, err)
	}
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		conn, err := openForward(dialer, t)
		done <- result{conn, err}
	}()
	// The client library cannot be told to stop; it has deadlines of its own.
	select {
	case r := <-done:
		if r.err != nil {
			return nil, fmt.Errorf("forward to pod %s/%s: %w", t.namespace, t.pod, r.err)
		}
		return r.conn, nil
	case <-ctx.Done():
		go func() {
			if r := <-done; r.conn != nil {
				r.conn.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

// podDialer speaks WebSocket, and SPDY with API servers that do not.
func (c *Cluster) podDialer(t target) (httpstream.Dialer, error) {
	config := rest.CopyConfig(c.Config)
	gv := corev1.SchemeGroupVersion
	config.GroupVersion, config.APIPath = &gv, "/api"
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	client, err := rest.UnversionedRESTClientFor(config)
	if err != nil {
		return nil, err
	}
	u := client.Post().AbsPath("/api/v1/namespaces", t.namespace, "pods", t.pod, "portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return nil, err
	}
	old := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, u)
	tunnel, err := portforward.NewSPDYOverWebsocketDialer(u, config)
	if err != nil {
		return nil, err
	}
	return portforward.NewFallbackDialer(tunnel, old, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	}), nil
}

func openForward(d httpstream.Dialer, t target) (net.Conn, error) {
	conn, _, err := d.Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		return nil, err
	}
	f := &forwarded{conn: conn, target: t}
	if err := f.open(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return f, nil
}

// forwarded is a connection over two streams: the data, and what the kubelet
// says about it.
type forwarded struct {
	conn   httpstream.Connection
	data   httpstream.Stream
	target target
	said   chan error // one value, when the kubelet has said its last

	once    sync.Once
	expired atomic.Bool
	mu      sync.Mutex
	timer   *time.Timer
}

func (f *forwarded) open() error {
	h := http.Header{}
	h.Set(corev1.PortHeader, strconv.Itoa(int(f.target.port)))
	h.Set(corev1.PortForwardRequestIDHeader, "0")
	h.Set(corev1.StreamType, corev1.StreamTypeError)
	says, err := f.conn.CreateStream(h)
	if err != nil {
		return err
	}
	says.Close() // we say nothing there
	h.Set(corev1.StreamType, corev1.StreamTypeData)
	if f.data, err = f.conn.CreateStream(h); err != nil {
		return err
	}
	f.said = make(chan error, 1)
	go func() { // ends with the connection
		const most = 4 << 10
		text, err := io.ReadAll(io.LimitReader(says, most))
		if err == nil && len(text) > 0 {
			f.said <- fmt.Errorf("pod %s/%s: %s", f.target.namespace, f.target.pod, text)
		}
		close(f.said)
	}()
	return nil
}

func (f *forwarded) Read(p []byte) (int, error) {
	n, err := f.data.Read(p)
	if err == nil {
		return n, nil
	}
	if f.expired.Load() {
		return n, os.ErrDeadlineExceeded
	}
	if n == 0 && errors.Is(err, io.EOF) {
		// The reason for an early end comes on the other stream.
		select {
		case said := <-f.said:
			if said != nil {
				return 0, said
			}
		case <-time.After(100 * time.Millisecond):
		}
	}
	return n, err
}

func (f *forwarded) Write(p []byte) (int, error) {
	n, err := f.data.Write(p)
	if err != nil && f.expired.Load() {
		err = os.ErrDeadlineExceeded
	}
	return n, err
}

// CloseWrite says that nothing more is sent.
func (f *forwarded) CloseWrite() error { return f.data.Close() }

func (f *forwarded) Close() error {
	f.setTimer(time.Time{})
	return f.end()
}

func (f *forwarded) end() (err error) {
	f.once.Do(func() { err = errors.Join(f.data.Reset(), f.conn.Close()) })
	return err
}

func (f *forwarded) LocalAddr() net.Addr { return podAddr("api server") }

func (f *forwarded) RemoteAddr() net.Addr {
	return podAddr(net.JoinHostPort(f.target.ip, strconv.Itoa(int(f.target.port))))
}

// SetDeadline ends the connection when the time has come: a stream cannot wait
// for a time and go on afterwards.
func (f *forwarded) SetDeadline(t time.Time) error      { f.setTimer(t); return nil }
func (f *forwarded) SetReadDeadline(t time.Time) error  { f.setTimer(t); return nil }
func (f *forwarded) SetWriteDeadline(t time.Time) error { f.setTimer(t); return nil }

func (f *forwarded) setTimer(t time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.timer != nil {
		f.timer.Stop()
		f.timer = nil
	}
	if !t.IsZero() {
		f.timer = time.AfterFunc(time.Until(t), func() {
			f.expired.Store(true)
			_ = f.end() // whoever reads or writes hears of it
		})
	}
}

type podAddr string

func (podAddr) Network() string  { return "tcp" }
func (a podAddr) String() string { return string(a) }
