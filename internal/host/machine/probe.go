package machine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/host/process"
)

// ProcessStatus is how one of the processes is.
type ProcessStatus struct {
	Name   string    `json:"name"`
	State  string    `json:"state"` // stopped, starting, ready
	PID    int       `json:"pid,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	Detail string    `json:"detail,omitempty"` // what it waits for, where it listens
	Log    string    `json:"log"`
}

// Status is how the machine is.
type Status struct {
	Ready      bool            `json:"ready"` // every process is
	Supervised bool            `json:"supervised"`
	DataDir    string          `json:"dataDir"`
	Server     string          `json:"server"`  // URL
	Gateway    string          `json:"gateway"` // URL pattern of applications
	Kubeconfig string          `json:"kubeconfig"`
	Processes  []ProcessStatus `json:"processes"`
}

// Status looks at every process and asks it whether it is ready.
func (m *Machine) Status(ctx context.Context) (Status, error) {
	s, err := m.Settings()
	if err != nil {
		return Status{}, err
	}
	st := Status{Ready: true, DataDir: m.dataDir, Kubeconfig: m.Kubeconfig(), Server: m.ServerURL(s), Gateway: m.GatewayURL(s)}
	st.Supervised = process.LockHolder(m.RunDir()) != 0
	for _, name := range []string{Node, Gateway, Server} {
		ps := ProcessStatus{Name: name, State: "stopped", Log: process.LogPath(m.RunDir(), name)}
		if p, ok := process.Find(m.RunDir(), name); ok {
			ps.State, ps.PID, ps.Since = "starting", p.PID, p.Since
			pctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			err := m.probe(pctx, s, name)
			cancel()
			if err == nil {
				ps.State = "ready"
			} else {
				ps.Detail = err.Error()
			}
		}
		st.Ready = st.Ready && ps.State == "ready"
		st.Processes = append(st.Processes, ps)
	}
	return st, ctx.Err()
}

// ServerURL is where the server answers. GitHub's clients want the name.
func (m *Machine) ServerURL(s Settings) string { return "http://penstock.localhost:" + port(s.Listen) }

// GatewayURL is the pattern under which applications answer.
func (m *Machine) GatewayURL(s Settings) string {
	return "http://<app>.localhost:" + port(s.GatewayListen)
}

func port(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

// probe asks the named process whether it is ready; the error says what it
// waits for.
func (m *Machine) probe(ctx context.Context, s Settings, name string) error {
	switch name {
	case Node:
		return ask(ctx, "unix", m.NodeSocket(), "/v1/ready")
	case Gateway:
		return ask(ctx, "unix", m.GatewaySocket(), "/readyz")
	default:
		return ask(ctx, "tcp", s.Listen, "/readyz")
	}
}

// ask sends GET path and wants 200. Any other answer's reason becomes the
// error.
func ask(ctx context.Context, network, addr, path string) error {
	t := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://penstock.localhost"+path, nil)
	if err != nil {
		return err
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" {
			return errors.New("does not answer yet")
		}
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 16<<10))
	if err != nil || resp.StatusCode == http.StatusOK {
		return err
	}
	var why struct {
		WaitingFor []string `json:"waitingFor"`
		Detail     string   `json:"detail"`
	}
	if json.Unmarshal(b, &why) == nil {
		if len(why.WaitingFor) > 0 {
			return fmt.Errorf("waits for %s", strings.Join(why.WaitingFor, ", "))
		}
		if why.Detail != "" {
			return errors.New(why.Detail)
		}
	}
	return fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(b)))
}
