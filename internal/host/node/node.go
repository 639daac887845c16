// Package node is the client of penstock-node's control socket: what state the
// embedded cluster is in, which images it has, and its stop.
package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// Status is what the node says about itself.
type Status struct {
	Version           string      `json:"version"`
	KubernetesVersion string      `json:"kubernetesVersion"`
	PID               int         `json:"pid"`
	StartedAt         time.Time   `json:"startedAt"`
	Ready             bool        `json:"ready"`
	ReadyMillis       int64       `json:"readyMillis"` // from the start of its process to ready
	Components        []Component `json:"components"`
	Node              *Member     `json:"node"` // nil for a control plane without a node
	Paths             Paths       `json:"paths"`
}

// Component is one part of the node.
type Component struct {
	Name        string    `json:"name"`
	State       string    `json:"state"` // waiting, starting, ready, stopped, failed
	Message     string    `json:"message"`
	Since       time.Time `json:"since"`
	ReadyMillis int64     `json:"readyMillis"`
}

// Member is the machine's place in the cluster.
type Member struct {
	Name        string `json:"name"`
	IP          string `json:"ip"`
	PodCIDR     string `json:"podCIDR"`
	ServiceCIDR string `json:"serviceCIDR"`
	ClusterDNS  string `json:"clusterDNS"`
}

// Paths are where the node's other doors are.
type Paths struct {
	Kubeconfig string `json:"kubeconfig"`
	BuildKit   string `json:"buildkit"`
	Containerd string `json:"containerd"`
}

// Image is one name in the node's image store.
type Image struct {
	Name      string    `json:"name"`
	Digest    string    `json:"digest"`
	Size      int64     `json:"size"`
	CreatedAt time.Time `json:"createdAt"`
}

// Client talks to one node.
type Client struct {
	socket string
	http   *http.Client
}

// New returns a client of the node that listens on socket.
func New(socket string) *Client {
	return &Client{socket, &http.Client{Transport: &http.Transport{
		// Commands ask once or twice; nothing is left open behind them.
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}}
}

// Status returns the node's state.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.call(ctx, "ask the node for its status", http.MethodGet, "/v1/status", nil, nil, &s)
	return s, err
}

// maxWait is the longest that one request to /v1/ready may take.
const maxWait = 10 * time.Minute

// Ready waits until Pods can be scheduled and reached, at most for wait. Its
// error then names what the node waits for.
func (c *Client) Ready(ctx context.Context, wait time.Duration) error {
	q := url.Values{"wait": {min(wait, maxWait).String()}}
	return c.call(ctx, "wait for the node", http.MethodGet, "/v1/ready", q, nil, nil)
}

// Images returns the images that Pods can use.
func (c *Client) Images(ctx context.Context) ([]Image, error) {
	var list []Image
	err := c.call(ctx, "list the node's images", http.MethodGet, "/v1/images", nil, nil, &list)
	return list, err
}

// ImportImage puts the archive r (docker-archive, or OCI layout as tar) into the
// node, under name or, if that is empty, under the names in the archive. It
// returns when Pods can use the images.
func (c *Client) ImportImage(ctx context.Context, r io.Reader, name string) ([]Image, error) {
	var list []Image
	q := url.Values{}
	if name != "" {
		q.Set("name", name)
	}
	err := c.call(ctx, "import the image", http.MethodPost, "/v1/images", q, r, &list)
	return list, err
}

// RemoveImage takes the name away.
func (c *Client) RemoveImage(ctx context.Context, name string) error {
	return c.call(ctx, "remove the image", http.MethodDelete, "/v1/images", url.Values{"name": {name}}, nil, nil)
}

// Registry says where Penstock's image registry is.
type Registry struct {
	Names    []string `json:"names"`    // by which images name it: penstock.localhost:7080
	Endpoint string   `json:"endpoint"` // where the node finds it: http://127.0.0.1:7080
	Token    string   `json:"token"`    // with which the node pulls
}

// SetRegistry tells the node where images come from. It remembers it.
func (c *Client) SetRegistry(ctx context.Context, r Registry) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode registry: %w", err)
	}
	return c.call(ctx, "tell the node about the registry", http.MethodPut, "/v1/registry", nil, bytes.NewReader(b), nil)
}

// Stop begins the node's stop, which ends all Pods.
func (c *Client) Stop(ctx context.Context) error {
	return c.call(ctx, "stop the node", http.MethodPost, "/v1/stop", nil, nil, nil)
}

// answerLimit bounds what the node may answer.
const answerLimit = 16 << 20

func (c *Client) call(ctx context.Context, op, method, path string, q url.Values, body io.Reader, into any) error {
	r, err := http.NewRequestWithContext(ctx, method, "http://node"+path+"?"+q.Encode(), body)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		var dial *net.OpError
		if errors.As(err, &dial) && dial.Op == "dial" {
			return &problem.Error{Op: op, Err: dial.Err, Hint: "penstock status shows whether the node runs; penstock up starts it"}
		}
		return fmt.Errorf("%s: %w", op, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit))
	if err != nil {
		return fmt.Errorf("%s: read the answer: %w", op, err)
	}
	if resp.StatusCode/100 != 2 {
		return refused(op, resp, b)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s: read the answer: %w", op, err)
	}
	return nil
}

// refused makes the node's refusal an error with its own words and hint.
func refused(op string, resp *http.Response, body []byte) error {
	var said struct {
		Error      string   `json:"error"`
		Hint       string   `json:"hint"`
		WaitingFor []string `json:"waitingFor"`
	}
	if json.Unmarshal(body, &said) != nil || (said.Error == "" && said.WaitingFor == nil) {
		said.Error = fmt.Sprintf("the node answers %s", resp.Status)
	}
	cause := errors.New(said.Error)
	switch resp.StatusCode {
	case http.StatusNotFound:
		cause = fmt.Errorf("%w: %s", problem.ErrNotFound, said.Error)
	case http.StatusBadRequest:
		cause = fmt.Errorf("%w: %s", problem.ErrInvalid, said.Error)
	case http.StatusServiceUnavailable:
		if said.WaitingFor != nil {
			cause = fmt.Errorf("%w: not ready are %v", problem.ErrTimeout, said.WaitingFor)
		}
	}
	return &problem.Error{Op: op, Err: cause, Hint: said.Hint}
}
