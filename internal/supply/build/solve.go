package build

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/types"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth/authprovider"
)

// frontendAttrs says to the Dockerfile frontend what r asks for. It is a pure
// function; r has been checked.
func frontendAttrs(r Request) map[string]string {
	a := map[string]string{}
	if r.Target != "" {
		a["target"] = r.Target
	}
	for k, v := range r.Args {
		a["build-arg:"+k] = v
	}
	for k, v := range r.Labels {
		a["label:"+k] = v
	}
	if len(r.Platforms) > 0 {
		var ps []string
		for _, s := range r.Platforms {
			p, err := platforms.Parse(s)
			if err != nil {
				continue // checked before
			}
			ps = append(ps, platforms.FormatAll(platforms.Normalize(p)))
		}
		a["platform"] = strings.Join(ps, ",")
	}
	switch {
	case r.NoCache:
		a["no-cache"] = ""
	case len(r.NoCacheFilter) > 0:
		a["no-cache"] = strings.Join(r.NoCacheFilter, ",")
	}
	if r.Pull {
		a["image-resolve-mode"] = "pull"
	}
	return a
}

// solveOptions puts together what BuildKit's client needs.
func solveOptions(r Request, in inputs, outs *outputs, o Options) (client.SolveOpt, error) {
	attrs := frontendAttrs(r)
	maps.Copy(attrs, in.attrs)
	secrets, err := openSecrets(r.Secrets)
	if err != nil {
		return client.SolveOpt{}, fmt.Errorf("open secrets: %w", err)
	}
	auth := authprovider.NewDockerAuthProvider(authprovider.DockerAuthProviderConfig{
		AuthConfigProvider: credentials(r, o),
	})
	return client.SolveOpt{
		Frontend:      "dockerfile.v0",
		FrontendAttrs: attrs,
		LocalMounts:   in.mounts,
		OCIStores:     in.stores,
		// The builder recognises a context it has seen by this key, and asks
		// only for what changed.
		SharedKey:    "penstock:" + in.key,
		Exports:      slices.Clone(outs.exports),
		CacheImports: cacheImports(r.CacheFrom),
		CacheExports: cacheExports(r.CacheTo),
		Session:      []session.Attachable{secrets, auth},
	}, nil
}

// credentials are the user's, where docker login put them; for Penstock's own
// registry, the token. A build on behalf of a CI job has its token and no
// others.
func credentials(r Request, o Options) authprovider.AuthConfigProvider {
	token := o.RegistryToken
	users := authprovider.LoadAuthConfig(config.LoadDefaultConfigFile(io.Discard))
	if r.OnBehalf {
		token = r.RegistryToken
		users = func(context.Context, string, []string, authprovider.ExpireCachedAuthCheck) (types.AuthConfig, error) {
			return types.AuthConfig{}, nil
		}
	}
	return func(ctx context.Context, host string, scope []string, check authprovider.ExpireCachedAuthCheck) (types.AuthConfig, error) {
		if token != "" && slices.Contains(o.Registries, host) {
			return types.AuthConfig{Username: "penstock", Password: token}, nil
		}
		return users(ctx, host, scope, check)
	}
}
