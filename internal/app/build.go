package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/face/cli"
	"github.com/penstock-dev/penstock/internal/host/machine"
	"github.com/penstock-dev/penstock/internal/supply/build"
)

// cliBuilderWait is how long the command line waits for a builder that does
// not answer at all. One that goes away during a build is waited for longer.
const cliBuilderWait = 10 * time.Second

// openBuilder connects the build command to the machine's image builder.
func openBuilder(g *cli.Globals) (cli.Builder, error) {
	m, err := machine.At(g.DataDir)
	if err != nil {
		return nil, err
	}
	return build.New(build.Options{
		Socket:    m.BuildSocket(),
		Importer:  nodeImages{m.NodeSocket()},
		GitToken:  func(remote string) string { return tokenFor(remote, g.Server, m.DataDir()) },
		StartWait: cliBuilderWait,
		Log:       g.Log(),
	}), nil
}

// tokenFor returns the machine's access token for remotes on its own server,
// and for no others.
func tokenFor(remote, server, dataDir string) string {
	r, err := url.Parse(remote)
	if err != nil {
		return ""
	}
	s, err := url.Parse(server)
	if err != nil || r.Host == "" || r.Host != s.Host || r.Scheme != s.Scheme {
		return ""
	}
	if t := os.Getenv("PENSTOCK_TOKEN"); t != "" {
		return t
	}
	b, err := os.ReadFile(filepath.Join(dataDir, "admin.token"))
	if err != nil {
		return "" // git says that it may not, which is what matters
	}
	return strings.TrimSpace(string(b))
}

// nodeImages puts images into the node through its control socket.
type nodeImages struct{ socket string }

// ImportImage takes an OCI layout or docker archive as tar.
func (n nodeImages) ImportImage(ctx context.Context, name string, r io.Reader) error {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", n.socket)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://node/v1/images?name="+url.QueryEscape(name), r)
	if err != nil {
		return fmt.Errorf("import image: %w", err)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		if _, ok := errors.AsType[*net.OpError](err); ok {
			return &problem.Error{Op: "import image", Subject: name, Err: err, Hint: "penstock status shows whether the node runs; penstock up starts it"}
		}
		return fmt.Errorf("import image: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10)) // the status says enough
		return fmt.Errorf("import image: the node answers %s: %s", resp.Status, strings.TrimSpace(string(b)))
	}
	return nil
}
