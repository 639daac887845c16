//go:build linux

package buildkit

import (
	"context"
	"strconv"
	"strings"

	dockerfile "github.com/moby/buildkit/frontend/dockerfile/builder"
	dockerfileversion "github.com/moby/buildkit/frontend/dockerfile/version"
	"github.com/moby/buildkit/frontend/gateway/client"
)

// buildDockerfile is the Dockerfile frontend. A "# syntax=docker/dockerfile:1"
// line names an image to build with; where that image is the frontend linked
// in here, or an older one, nothing is downloaded and the one here is used.
func buildDockerfile(ctx context.Context, c client.Client) (*client.Result, error) {
	return dockerfile.Build(ctx, linkedSyntax{c})
}

type linkedSyntax struct{ client.Client }

// Solve catches the hand-over to a frontend image. The hand-over has marked
// the options, so the frontend does not look at the syntax line again.
func (l linkedSyntax) Solve(ctx context.Context, req client.SolveRequest) (*client.Result, error) {
	if req.Frontend == "gateway.v0" && isLinkedSyntax(req.FrontendOpt["source"], dockerfileversion.Version()) {
		return dockerfile.Build(ctx, l.Client)
	}
	return l.Client.Solve(ctx, req)
}

// isLinkedSyntax says whether ref names Docker's stable Dockerfile frontend in
// a version that linked (like "1.28.0") covers. A digest, the labs channel and
// any other image are what they say they are.
func isLinkedSyntax(ref, linked string) bool {
	tag, ok := strings.CutPrefix(strings.TrimPrefix(ref, "docker.io/"), "docker/dockerfile")
	if !ok {
		return false
	}
	switch tag {
	case "", ":latest", ":1":
		return true
	}
	want, ok := strings.CutPrefix(tag, ":1.")
	if !ok {
		return false
	}
	have, ok := strings.CutPrefix(linked, "1.")
	if !ok {
		return false
	}
	w, wok := minorPatch(want)
	h, hok := minorPatch(have)
	return wok && hok && (w[0] < h[0] || w[0] == h[0] && w[1] <= h[1])
}

// minorPatch reads "28" or "28.1"; what follows a dash is dropped from linked
// development versions only because it cannot appear in a stable tag.
func minorPatch(s string) (v [2]int, ok bool) {
	s, _, _ = strings.Cut(s, "-dev")
	minor, patch, has := strings.Cut(s, ".")
	var err error
	if v[0], err = strconv.Atoi(minor); err != nil {
		return v, false
	}
	if has {
		if v[1], err = strconv.Atoi(patch); err != nil {
			return v, false
		}
	}
	return v, true
}
