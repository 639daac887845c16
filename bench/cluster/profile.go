//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// profileNode takes a processor profile of penstock-node in the background. As
// the cluster is one process, it covers all of it. The returned function waits for it and puts the top of it into the report.
func (p *platform) profileNode(ctx context.Context, r *report, name string, d time.Duration) (finish func()) {
	done := make(chan struct{})
	var raw []byte
	var err error
	go func() {
		defer close(done)
		raw, err = p.fetchProfile(ctx, d)
	}()
	return func() {
		<-done
		text := ""
		if err == nil {
			text, err = p.top(ctx, raw)
		}
		if err != nil {
			r.fail("profile "+name, err)
			return
		}
		r.profiles[name] = raw
		r.where(fmt.Sprintf("Profile of penstock-node: %s (%s)", name, d), text)
	}
}

func (p *platform) fetchProfile(ctx context.Context, d time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, d+30*time.Second)
	defer cancel()
	url := fmt.Sprintf("/debug/pprof/profile?seconds=%d", int(d.Seconds()))
	for {
		raw, err := socket(ctx, p.control(), http.MethodGet, url, nil)
		var op *net.OpError
		if err == nil || !errors.As(err, &op) || op.Op != "dial" {
			return raw, err
		}
		// The node has only just been started.
		if err := wait(ctx, 2*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// top renders the profile by function and by package, with the symbols that
// the profile carries.
func (p *platform) top(ctx context.Context, raw []byte) (string, error) {
	f, err := os.CreateTemp(p.dir, "profile")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(raw); err != nil {
		return "", err
	}
	if err := f.Close(); err != nil {
		return "", err
	}
	var out strings.Builder
	for _, args := range [][]string{{"-top", "-nodecount=25"}, {"-top", "-cum", "-nodecount=60"}} {
		c := exec.CommandContext(ctx, "go", append([]string{"tool", "pprof"}, append(args, filepath.Join(p.bin, "penstock-node"), f.Name())...)...)
		b, err := c.Output()
		if err != nil {
			return "", fmt.Errorf("go tool pprof: %w", err)
		}
		lines := strings.Split(string(b), "\n")
		for i, l := range lines {
			if strings.HasPrefix(l, "Duration:") {
				lines = lines[i:]
				break
			}
		}
		out.WriteString(strings.Join(lines, "\n") + "\n")
	}
	return out.String(), nil
}
