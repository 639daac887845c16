package app

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/penstock-dev/penstock/internal/base/atomicfile"
	"github.com/penstock-dev/penstock/internal/base/id"
	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/face/api"
	"github.com/penstock-dev/penstock/internal/host/cluster"
	"github.com/penstock-dev/penstock/internal/host/identity"
	"github.com/penstock-dev/penstock/internal/host/machine"
	"github.com/penstock-dev/penstock/internal/host/node"
	"github.com/penstock-dev/penstock/internal/host/registry"
	"github.com/penstock-dev/penstock/internal/host/registry/outside"
	"github.com/penstock-dev/penstock/internal/host/registry/storage"
)

// images is the registry with what the API shows of it.
type images struct {
	*registry.Server
	outside *outside.Registry
	node    *nodeRegistry
}

// registryName is under which name the registry that listens on addr is known
// to people, Pods, jobs and the builder.
func registryName(addr string) string {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "penstock.localhost"
	}
	return net.JoinHostPort("penstock.localhost", port)
}

// registryAddress is where this machine finds the registry that listens on
// addr.
func registryAddress(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// registryHosts are the registry's name and where this machine finds it.
func registryHosts(listen string) []string {
	return []string{registryName(listen), registryAddress(listen)}
}

// newImages makes the registry in the data directory.
func newImages(m *machine.Machine, listen string, keeper *identity.Keeper, mirrors map[string]string, log *slog.Logger) (*images, error) {
	dir := filepath.Join(m.DataDir(), "registry")
	s, err := storage.Open(dir, storage.Options{})
	if err != nil {
		return nil, err
	}
	token, err := nodeToken(filepath.Join(dir, "node.token"))
	if err != nil {
		return nil, err
	}
	out, err := outside.New(outside.Options{Store: s, AliasFile: filepath.Join(dir, "aliases.json"), Mirrors: mirrors, Log: log})
	if err != nil {
		return nil, err
	}
	name := registryName(listen)
	_, port, _ := strings.Cut(name, ":")
	inCluster := "registry." + cluster.NamesNamespace + ".svc"
	names := []string{name, inCluster, inCluster + ":" + port}
	return &images{registry.New(registry.Options{
		Store: s, Access: imageAccess{keeper, sha256.Sum256([]byte(token))}, Outside: out, Log: log,
		Names: append([]string{registryAddress(listen), "localhost:" + port}, names...),
	}), out, newNodeRegistry(m.NodeSocket(), node.Registry{Names: names, Endpoint: "http://" + registryAddress(listen), Token: token}, log)}, nil
}

// imageAccess lets in whom the keeper knows, and the node.
type imageAccess struct {
	keeper *identity.Keeper
	node   [sha256.Size]byte // hash of the node's token
}

// sharedImages begins the names of images that everybody may pull who may come
// in: what others' files call node or postgres.
const sharedImages = "library/"

// Identify says who makes r. The node's runtime may read everything: which Pod
// runs which image is decided by whoever may create Pods.
func (a imageAccess) Identify(r *http.Request) (registry.User, error) {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		h := sha256.Sum256([]byte(token))
		if subtle.ConstantTimeCompare(h[:], a.node[:]) == 1 {
			return registry.User{Name: "node", May: func(_ string, write bool) bool { return !write }}, nil
		}
	}
	p, err := a.keeper.Identify(r)
	if err != nil {
		return registry.User{}, err
	}
	// Cookies do not count: no client of a registry has any.
	if p.Session() != "" {
		return registry.User{}, problem.ErrUnauthenticated
	}
	ctx := r.Context()
	return registry.User{Name: p.Name, May: func(repo string, write bool) bool {
		return !write && strings.HasPrefix(repo, sharedImages) || p.MayImage(repo, write) || a.keeper.AllowImage(ctx, p, repo, write) == nil
	}}, nil
}

// nodeToken reads the token with which the node pulls, and makes it at the
// first start.
func nodeToken(path string) (string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		token := id.Secret("pnt_")
		if err := atomicfile.Write(path, []byte(token+"\n"), 0o600); err != nil {
			return "", fmt.Errorf("create the node's token: %w", err)
		}
		return token, nil
	}
	if err != nil {
		return "", fmt.Errorf("read the node's token: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 1024))
	if err != nil {
		return "", fmt.Errorf("read the node's token: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if len(token) < 40 {
		return "", &problem.Error{Op: "read the node's token", Subject: path, Err: errors.New("the file holds no token"), Hint: "remove the file and start again: a new token is made"}
	}
	return token, nil
}

// parseMirrors reads flags of the form HOST or HOST=URL. None means the usual
// registries.
func parseMirrors(flags []string) (map[string]string, error) {
	if len(flags) == 0 {
		return nil, nil
	}
	m := map[string]string{}
	for _, f := range flags {
		host, address, _ := strings.Cut(f, "=")
		if host == "" {
			return nil, fmt.Errorf("%w: --mirror %q is not HOST or HOST=URL", problem.ErrUsage, f)
		}
		if host != "none" {
			m[host] = address
		}
	}
	return m, nil
}

// imageFace shows the registry to the API.
type imageFace struct{ outside *outside.Registry }

func (f imageFace) Aliases() []api.ImageAlias {
	all := f.outside.Aliases()
	out := make([]api.ImageAlias, len(all))
	for i, a := range all {
		out[i] = api.ImageAlias(a)
	}
	return out
}

func (f imageFace) SetAlias(a api.ImageAlias) (api.ImageAlias, error) {
	set, err := f.outside.SetAlias(outside.Alias(a))
	return api.ImageAlias(set), err
}

func (f imageFace) RemoveAlias(name string) error { return f.outside.RemoveAlias(name) }
