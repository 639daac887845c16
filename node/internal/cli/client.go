package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/penstock-dev/penstock/node/internal/control"
	"github.com/penstock-dev/penstock/node/internal/fault"
	"github.com/penstock-dev/penstock/node/internal/layout"
	"github.com/penstock-dev/penstock/node/internal/proc"
)

func controlClient(d layout.Dir) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var dial net.Dialer
		return dial.DialContext(ctx, "unix", d.ControlSocket())
	}}}
}

func readStatus(ctx context.Context, dataDir string) (control.Status, error) {
	var s control.Status
	d, err := layout.Open(dataDir)
	if err != nil {
		return s, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://node/v1/status", nil)
	if err != nil {
		return s, err
	}
	resp, err := controlClient(d).Do(r)
	if err != nil {
		return s, &fault.Error{Op: "ask the node", Subject: dataDir, Err: err, Hint: "is it running? start it with: penstock up"}
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&s); err != nil {
		return s, fmt.Errorf("read the node's status: %w", err)
	}
	return s, nil
}

// askToStop tells a running node to stop and waits until its process has
// ended. Without one there is nothing to do; one that does not answer is ended.
func askToStop(ctx context.Context, dataDir string) error {
	d, err := layout.Open(dataDir)
	if err != nil {
		return err
	}
	pid := d.Holder()
	if pid == 0 {
		return nil
	}
	p, err := proc.Of(pid)
	if err != nil {
		return nil // it has just ended
	}
	soon, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(soon, http.MethodPost, "http://node/v1/stop", nil)
	if err != nil {
		return err
	}
	resp, err := controlClient(d).Do(r)
	if err != nil {
		// Still starting, already stopping, or stuck: the same process finishes
		// in all cases, at the latest by force.
		return p.End(ctx, 20*time.Second)
	}
	resp.Body.Close()
	if err := p.Wait(ctx); err != nil {
		return &fault.Error{Op: "stop the node", Subject: dataDir, Err: fmt.Errorf("process %d still runs: %w", pid, err), Hint: fmt.Sprintf("kill -9 %d, then repeat the stop", pid)}
	}
	return nil
}
