//go:build linux

// Command cluster measures what the platform costs and how fast it is: start to
// ready with a cold and a warm disk, memory and idle processor time, Pods, a push
// on its way to an answer, a sandbox. It compares with the budgets of the design
// and says where the time goes.
//
//	go run ./bench/cluster -bin bin -full -out bench/results
//
// It needs root, the two binaries and the default addresses; nothing else of
// Penstock may run. Wall-clock figures of a busy machine say little: the load
// average is part of the report.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "directory of penstock and penstock-node")
	flag.StringVar(&o.out, "out", "", "directory for the report and the profiles; empty: only print")
	full := flag.Bool("full", false, "measure idle for 10 minutes and start five times")
	flag.StringVar(&o.only, "only", "", "comma-separated parts: node, up, pods, delivery, sandbox, idle; empty: all")
	flag.Parse()
	o.rounds, o.idle = 3, 30*time.Second
	if *full {
		o.rounds, o.idle = 5, 10*time.Minute
	}
	r, err := measure(ctx, o)
	if r != nil {
		r.print(os.Stdout)
		if o.out != "" {
			err = errors.Join(err, r.save(o.out))
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(3)
	}
}

type options struct {
	bin, out, only string
	rounds         int
	idle           time.Duration
}

// part is one thing to measure. Parts run in order on one platform.
type part struct {
	name string
	run  func(context.Context, *platform, *report) error
}

// measure runs the parts. A part that fails is in the report, and the others
// go on.
func measure(ctx context.Context, o options) (*report, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("the embedded node needs root")
	}
	bin, err := filepath.Abs(o.bin)
	if err != nil {
		return nil, err
	}
	// Socket paths are short, so the directory's must be.
	dir, err := os.MkdirTemp("/var/tmp", "pb")
	if err != nil {
		return nil, err
	}
	p := &platform{bin: bin, dir: dir, rounds: o.rounds, idle: o.idle}
	r := newReport(time.Now())
	defer func() {
		p.wipe(context.WithoutCancel(ctx))
		os.RemoveAll(dir)
	}()
	var failed error
	for _, part := range []part{
		{"node", startNode}, {"up", startAll}, {"pods", pods}, {"delivery", delivery}, {"sandbox", sandboxes}, {"idle", idle},
	} {
		if ctx.Err() != nil {
			return r, context.Cause(ctx)
		}
		if !chosen(o.only, part.name) {
			continue
		}
		fmt.Fprintln(os.Stderr, "measuring", part.name)
		if err := part.run(ctx, p, r); err != nil {
			err = fmt.Errorf("measure %s: %w", part.name, err)
			r.fail(part.name, err)
			failed = errors.Join(failed, err)
		}
	}
	return r, failed
}
