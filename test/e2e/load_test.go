//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/bench/app"
)

// load asks an application through the gateway without pause and counts.
type load struct {
	stop func()

	mu       sync.Mutex
	ok, lost int
	pages    map[string]int
	first    []string // the first lost ones
	slowest  time.Duration
}

// startLoad begins with n clients, each 20 requests a second; half of them keep
// their connection. It ends with the test.
func startLoad(t *testing.T, p *Platform, n int) *load {
	t.Helper()
	l := &load{pages: map[string]int{}}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for i := range n {
		c := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
			DisableKeepAlives: i%2 == 0,
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, p.Gateway)
			},
		}}
		wg.Go(func() {
			defer c.CloseIdleConnections()
			tick := time.NewTicker(50 * time.Millisecond)
			defer tick.Stop()
			for {
				l.one(ctx, c)
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	l.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(l.stop)
	return l
}

func (l *load) one(ctx context.Context, c *http.Client) {
	began := time.Now()
	page, err := func() (string, error) {
		// The request is not cancelled at the end of the load: it counts.
		req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodGet, "http://"+app.Host+"/", nil)
		if err != nil {
			return "", err
		}
		res, err := c.Do(req)
		if err != nil {
			return "", err
		}
		defer res.Body.Close()
		b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
		if err == nil && res.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", res.Status, b)
		}
		return strings.TrimSpace(string(b)), err
	}()
	d := time.Since(began)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slowest = max(l.slowest, d)
	if err == nil {
		l.ok++
		l.pages[page]++
		return
	}
	l.lost++
	if len(l.first) < 5 {
		l.first = append(l.first, fmt.Sprintf("%s after %v: %v", began.Format("15:04:05.000"), d.Round(time.Millisecond), err))
	}
}

// done ends the load and wants that no request was lost, of at least some.
func (l *load) done(t *testing.T) {
	t.Helper()
	l.stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	t.Logf("%d requests answered, %d lost, slowest %v", l.ok, l.lost, l.slowest.Round(time.Millisecond))
	if l.lost > 0 {
		t.Errorf("%d of %d requests were lost:\n%s", l.lost, l.ok+l.lost, strings.Join(l.first, "\n"))
	}
	if l.ok < 20 {
		t.Errorf("only %d requests: the load says nothing", l.ok)
	}
}
