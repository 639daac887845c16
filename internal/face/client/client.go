// Package client speaks to the Penstock API for the command line: requests
// with the machine's token, errors as problem.Error, names under .localhost
// dialled on loopback whatever the resolver says.
package client

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
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// maxAnswer bounds what a single JSON answer may hold.
const maxAnswer = 64 << 20

// Client is a client of one server.
type Client struct {
	base  *url.URL
	token string
	http  *http.Client
}

// New returns a client for the server at base. The token is read from the
// PENSTOCK_TOKEN environment variable, else from admin.token in dataDir.
func New(base, dataDir string) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("server address %q: %w", base, problem.ErrInvalid)
	}
	token := os.Getenv("PENSTOCK_TOKEN")
	if token == "" {
		b, err := os.ReadFile(filepath.Join(dataDir, "admin.token"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, &problem.Error{Op: "read the access token", Err: err, Hint: "run as the user that started penstock, or set PENSTOCK_TOKEN", Code: problem.ExitAuth}
		}
		token = strings.TrimSpace(string(b))
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	transport.DialContext = dialLocalhost
	return &Client{base: u, token: token, http: &http.Client{Transport: transport}}, nil
}

// Token returns the token that requests carry, "" when there is none.
func (c *Client) Token() string { return c.token }

// As returns a client that differs in its token.
func (c *Client) As(token string) *Client {
	other := *c
	other.token = token
	return &other
}

// dialLocalhost resolves *.localhost to loopback (RFC 6761), which most
// resolvers do not.
func dialLocalhost(ctx context.Context, network, addr string) (net.Conn, error) {
	if host, port, err := net.SplitHostPort(addr); err == nil && strings.HasSuffix(host, ".localhost") {
		addr = net.JoinHostPort("127.0.0.1", port)
	}
	d := net.Dialer{Timeout: 10 * time.Second}
	return d.DialContext(ctx, network, addr)
}

// Do sends in as JSON (nil: no body) and decodes the answer into out (nil:
// ignored). path is relative to the server and may carry a query.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	resp, err := c.Stream(ctx, method, path, body, "application/json")
	if err != nil {
		return err
	}
	defer resp.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp, maxAnswer)).Decode(out); err != nil {
		return fmt.Errorf("read answer of %s %s: %w", method, path, err)
	}
	return nil
}

// Stream sends body and returns the body of a successful answer.
func (c *Client) Stream(ctx context.Context, method, path string, body io.Reader, contentType string) (io.ReadCloser, error) {
	u := c.base.JoinPath()
	ref, err := url.Parse(path)
	if err != nil {
		return nil, fmt.Errorf("path %q: %w", path, err)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.ResolveReference(ref).String(), body)
	if err != nil {
		return nil, err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if errors.Is(err, syscall.ECONNREFUSED) {
			return nil, &problem.Error{Op: "reach the server at", Subject: c.base.String(), Err: syscall.ECONNREFUSED, Hint: "penstock up"}
		}
		return nil, err
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		return nil, answerError(resp)
	}
	return resp.Body, nil
}

// answerError turns an RFC 9457 answer into an error with the right sentinel.
func answerError(resp *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	var p struct {
		Detail string `json:"detail"`
		Errors []struct {
			Message  string `json:"message"`
			Location string `json:"location"`
		} `json:"errors"`
	}
	msg := strings.TrimSpace(string(b))
	if json.Unmarshal(b, &p) == nil && (p.Detail != "" || len(p.Errors) > 0) {
		parts := []string{}
		if p.Detail != "" { // the registry's errors have none
			parts = append(parts, p.Detail)
		}
		for _, e := range p.Errors {
			parts = append(parts, strings.TrimSpace(e.Location+" "+e.Message))
		}
		msg = strings.Join(parts, "; ")
	}
	if msg == "" {
		msg = resp.Status
	}
	var is error
	switch resp.StatusCode {
	case http.StatusNotFound:
		is = problem.ErrNotFound
	case http.StatusConflict:
		is = problem.ErrExists
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		is = problem.ErrInvalid
	case http.StatusUnauthorized, http.StatusForbidden:
		is = problem.ErrForbidden
	case http.StatusGatewayTimeout:
		is = problem.ErrTimeout
	default:
		return errors.New(msg)
	}
	return &answer{msg, is}
}

// answer keeps the server's words and the sentinel they stand for.
type answer struct {
	msg string
	is  error
}

func (a *answer) Error() string { return a.msg }
func (a *answer) Unwrap() error { return a.is }
