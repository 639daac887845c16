package actions

import (
	"context"
)

// dockerLogin is docker/login-action. There is nothing to log in to: a build has
// the job's rights at Penstock's registry, and no others.
type dockerLogin struct{}

func (dockerLogin) Inputs() map[string]Input {
	return map[string]Input{"registry": {}, "username": {}, "password": {}, "ecr": {Default: "auto"}, "logout": {Default: "true"}, "scope": {}, "registry-auth": {}}
}

func (dockerLogin) Run(_ context.Context, s Step) error {
	if p := s.Input("password"); p != "" {
		s.Mask(p)
	}
	registry := s.Input("registry")
	if registry == "" {
		registry = "docker.io"
	}
	s.Printf("No login at %s: builds have this job's rights at Penstock's own registry. The credentials are not used and not kept.", registry)
	return nil
}

// setupBuildx is docker/setup-buildx-action. The builder runs already.
type setupBuildx struct{}

func (setupBuildx) Inputs() map[string]Input {
	return map[string]Input{
		"version": {}, "driver": {Default: "docker-container"}, "driver-opts": {}, "buildkitd-flags": {}, "install": {Default: "false"},
		"use": {Default: "true"}, "name": {}, "endpoint": {Refused: later}, "platforms": {}, "append": {Refused: later},
		"cache-binary": {Default: "true"}, "cleanup": {Default: "true"}, "keep-state": {Default: "false"},
		"config": {Refused: later}, "config-inline": {Refused: later}, "buildkitd-config": {Refused: later}, "buildkitd-config-inline": {Refused: later},
	}
}

func (setupBuildx) Run(_ context.Context, s Step) error {
	s.Printf("Images are built by the BuildKit of this machine's node, which is running already.")
	for _, name := range []string{"version", "driver-opts", "buildkitd-flags", "platforms"} {
		if s.Input(name) != "" {
			s.Warnf("Input '%s' has no effect: the builder is Penstock's own", name)
		}
	}
	s.SetOutput("name", "penstock")
	s.SetOutput("driver", "remote")
	s.SetOutput("platforms", "")
	s.SetOutput("nodes", "[]")
	return nil
}
