package app

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/face/cli"
	"github.com/penstock-dev/penstock/internal/host/machine"
	"github.com/penstock-dev/penstock/internal/host/node"
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
	settings, err := m.Settings()
	if err != nil {
		return nil, err
	}
	hosts := registryHosts(settings.Listen)
	return build.New(build.Options{
		Socket:     m.BuildSocket(),
		Registries: hosts, RegistryToken: tokenFor(m.ServerURL(settings), g.Server, m.DataDir()),
		Importer:  nodeImages{node.New(m.NodeSocket())},
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
