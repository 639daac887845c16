//go:build linux

// Command testserver runs the image builder alone, without the rest of the
// node. Tests and benchmarks of the builder's client start it; nothing ships
// it.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/penstock-dev/penstock/node/internal/buildkit"
	"github.com/penstock-dev/penstock/node/internal/registry"
)

func main() {
	var o buildkit.Options
	var subnet, deny, reg string
	var verbose bool
	flag.StringVar(&o.Root, "root", "", "directory of cache and state")
	flag.StringVar(&o.Socket, "socket", "", "path of the unix socket")
	flag.StringVar(&o.Bridge, "bridge", "psbtest0", "interface of the build network")
	flag.StringVar(&subnet, "subnet", "10.218.0.0/24", "build network")
	flag.StringVar(&deny, "deny", "", "a network that build steps must not reach")
	flag.StringVar(&reg, "registry", "", "NAME=URL of Penstock's registry")
	flag.BoolVar(&verbose, "v", false, "log details")
	flag.Parse()
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	o.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	if err := run(o, subnet, deny, reg); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

func run(o buildkit.Options, subnet, deny, reg string) error {
	var err error
	if name, endpoint, ok := strings.Cut(reg, "="); ok {
		if o.Registry, err = registry.Load(filepath.Join(o.Root, "registry")); err != nil {
			return err
		}
		if err := o.Registry.Set(registry.Settings{Names: []string{name}, Endpoint: endpoint, Token: "unused"}); err != nil {
			return err
		}
	}
	if o.Subnet, err = netip.ParsePrefix(subnet); err != nil {
		return err
	}
	if deny != "" {
		p, err := netip.ParsePrefix(deny)
		if err != nil {
			return err
		}
		o.Deny = []netip.Prefix{p}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// Whoever started this holds the other end, and takes it along. Its end of
	// our output may be gone by then, which must not end us before we cleaned up.
	signal.Ignore(syscall.SIGPIPE)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	return buildkit.New(o).Run(ctx, func() { fmt.Fprintln(os.Stdout, "ready") })
}
