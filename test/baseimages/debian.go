package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// apt runs apt-get for a machine on which nothing is installed, so that it
// names everything that the packages need.
func apt(ctx context.Context, args ...string) (string, error) {
	dir, err := os.MkdirTemp("", "penstock-baseimages-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	status := filepath.Join(dir, "status")
	if err := os.WriteFile(status, nil, 0o644); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{
		"--yes", "--no-install-recommends", "-o", "Dir::State::status=" + status, "-o", "Debug::NoLocking=1", "-o", "APT::Get::AllowUnauthenticated=0",
	}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var out, errw bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errw
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("apt-get: %w: %s", err, strings.TrimSpace(errw.String()))
	}
	return out.String(), nil
}

// closure lists the archives of the packages and all they depend on, sorted.
func closure(ctx context.Context, packages []string) ([]string, error) {
	out, err := apt(ctx, append([]string{"--print-uris", "install"}, packages...)...)
	if err != nil {
		return nil, err
	}
	var debs []string
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) >= 3 && strings.HasPrefix(f[0], "'") && strings.HasSuffix(f[1], ".deb") {
			debs = append(debs, f[1])
		}
	}
	if len(debs) == 0 {
		return nil, fmt.Errorf("apt-get names no archives for %s", strings.Join(packages, " "))
	}
	slices.Sort(debs)
	return debs, nil
}

// download fetches the archives, unless they are in the cache.
func download(ctx context.Context, cache string, packages []string) error {
	if err := os.MkdirAll(filepath.Join(cache, "archives", "partial"), 0o755); err != nil {
		return err
	}
	_, err := apt(ctx, append([]string{"--download-only", "-o", "Dir::Cache=" + cache, "-o", "Dir::Cache::archives=archives", "-o", "APT::Sandbox::User=root", "install"}, packages...)...)
	return err
}

func without(list, taken []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(taken, s) })
}
