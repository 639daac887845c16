//go:build linux

package container

import (
	"maps"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/penstock-dev/penstock/internal/host/exec"
	"github.com/penstock-dev/penstock/internal/host/image"
)

// configOf is what callers may want to know of the image.
func configOf(ref string, img *image.Image) exec.ImageConfig {
	c := img.Config.Config
	return exec.ImageConfig{
		Ref: ref, Digest: img.Digest, Entrypoint: c.Entrypoint, Cmd: c.Cmd, WorkingDir: c.WorkingDir,
		Ports: slices.Sorted(maps.Keys(c.ExposedPorts)), Health: health(c.Healthcheck, c.Shell), StopSignal: c.StopSignal, Labels: c.Labels,
	}
}

// health reads a check as Docker writes it: ["NONE"], ["CMD", program,
// argument...] or ["CMD-SHELL", script].
func health(h *v1.HealthConfig, shell []string) *exec.HealthCheck {
	if h == nil || len(h.Test) < 2 {
		return nil
	}
	out := &exec.HealthCheck{Interval: h.Interval, Timeout: h.Timeout, StartPeriod: h.StartPeriod, Retries: h.Retries}
	switch h.Test[0] {
	case "CMD":
		out.Test = h.Test[1:]
	case "CMD-SHELL":
		if len(shell) == 0 {
			shell = []string{"/bin/sh", "-c"}
		}
		out.Test = append(slices.Clone(shell), h.Test[1])
	default:
		return nil
	}
	return out
}
