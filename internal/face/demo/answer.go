package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// answerWithin is how long an environment may take to answer once Git says
// what it should run. Image and Pod are local.
const answerWithin = 2 * time.Minute

// localClient resolves names under .localhost to loopback, which most
// resolvers do not.
func localClient() *http.Client {
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if host, port, err := net.SplitHostPort(addr); err == nil && strings.HasSuffix(host, ".localhost") {
				addr = net.JoinHostPort("127.0.0.1", port)
			}
			return (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, network, addr)
		},
	}}
}

// waitAnswer waits until an environment says that it is version, with text on
// its page. The deadline is the caller's context, except after a promotion.
func (d *Demo) waitAnswer(ctx context.Context, e environment, version, text string) error {
	if text == "" {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, answerWithin, problem.ErrTimeout)
		defer cancel()
	}
	last := "it was never asked"
	for {
		got, err := d.ask(ctx, e, text)
		switch {
		case ctx.Err() != nil: // it was interrupted: what it said before counts
		case err != nil:
			last = err.Error()
		case got == version:
			return nil
		default:
			last = "it is version " + short(got)
		}
		if err := sleep(ctx, lookEvery); err != nil {
			return fmt.Errorf("wait for %s: %w: %s", d.url(e), err, last)
		}
	}
}

// ask returns the version that an environment says it is.
func (d *Demo) ask(ctx context.Context, e environment, text string) (string, error) {
	b, err := d.get(ctx, d.url(e)+"/version")
	if err != nil {
		return "", err
	}
	var v struct {
		Version string `json:"version"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return "", fmt.Errorf("read version: %w", err)
	}
	page, err := d.get(ctx, d.url(e)+"/")
	if err != nil {
		return "", err
	}
	if !strings.Contains(string(page), text) {
		return "", fmt.Errorf("the page does not say %q", text)
	}
	return v.Version, nil
}

func (d *Demo) get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := d.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s", resp.Status)
	}
	return b, err
}
