//go:build linux

// Command gateway compares the gateway with HAProxy: the same backend, the same
// load, in turns on the same machine. It judges requests per second and the
// processor time that a request costs in the proxy, which depends less on what
// else the machine does.
//
//	go run ./bench/gateway -penstock bin/penstock
//
// It needs haproxy and wrk.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/penstock-dev/penstock/internal/host/gateway/route"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(3)
	}
}

type options struct {
	penstock    string
	rounds      int
	duration    time.Duration
	connections int
	budget      float64
}

func run(ctx context.Context) error {
	var o options
	flag.StringVar(&o.penstock, "penstock", "bin/penstock", "the binary to measure")
	flag.IntVar(&o.rounds, "rounds", 5, "turns of each proxy; the best counts")
	flag.DurationVar(&o.duration, "duration", 5*time.Second, "of one turn")
	flag.IntVar(&o.connections, "connections", 32, "kept-alive connections")
	flag.Float64Var(&o.budget, "budget", 0.5, "fail below this ratio of HAProxy's requests per second")
	flag.Parse()
	best, err := compare(ctx, o)
	if err != nil {
		return err
	}
	h, g := best["haproxy"], best["gateway"]
	ratio := g.rps / h.rps
	fmt.Printf("| proxy | requests/s | proxy CPU per request | p99 |\n|---|---|---|---|\n")
	fmt.Printf("| HAProxy | %.0f | %.1f us | %s |\n| gateway | %.0f | %.1f us | %s |\n", h.rps, h.cpu, h.p99, g.rps, g.cpu, g.p99)
	fmt.Printf("\nratio %.2f of HAProxy's requests/s (budget %.2f); 1 KiB, keep-alive, %d connections\n", ratio, o.budget, o.connections)
	if ratio < o.budget {
		return errors.New("below the budget")
	}
	return nil
}

// compare measures both in turns and returns the best of each.
func compare(ctx context.Context, o options) (map[string]sample, error) {
	for _, tool := range []string{"haproxy", "wrk"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("find %s: %w (apt-get install haproxy wrk)", tool, err)
		}
	}
	dir, err := os.MkdirTemp("", "bench-gw")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	b, err := start(ctx, o, dir)
	defer b.stop()
	if err != nil {
		return nil, err
	}
	best := map[string]sample{}
	for round := range o.rounds {
		for _, name := range []string{"haproxy", "gateway"} {
			s, err := b.measure(ctx, o, name)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(os.Stderr, "round %d %-8s %7.0f requests/s  %5.1f us/request  p99 %s\n", round+1, name, s.rps, s.cpu, s.p99)
			m := best[name]
			if s.rps > m.rps {
				m.rps, m.p99 = s.rps, s.p99
			}
			if m.cpu == 0 || s.cpu < m.cpu {
				m.cpu = s.cpu
			}
			best[name] = m
		}
	}
	return best, nil
}

type sample struct {
	rps, cpu float64 // requests per second; microseconds of processor time per request
	p99      string
}

// bench is what runs: the backend, and the two proxies before it.
type bench struct {
	procs []*exec.Cmd
	addr  map[string]string
	pid   map[string]int
}

func (b *bench) stop() {
	for _, c := range b.procs {
		_ = c.Process.Signal(syscall.SIGTERM)
		_ = c.Wait()
	}
}

func start(ctx context.Context, o options, dir string) (*bench, error) {
	b := &bench{addr: map[string]string{}, pid: map[string]int{}}
	ports, err := freePorts(3)
	if err != nil {
		return b, err
	}
	origin := ports[0]
	b.addr["haproxy"], b.addr["gateway"] = ports[1], ports[2]
	body := filepath.Join(dir, "body")
	if err := os.WriteFile(body, bytes.Repeat([]byte("x"), 1024), 0o600); err != nil {
		return b, err
	}
	const common = "global\n nbthread 2\ndefaults\n mode http\n timeout client 60s\n timeout server 60s\n timeout connect 5s\n http-reuse always\n option httpclose\n no option httpclose\n"
	configs := map[string]string{
		"origin":  common + "frontend f\n bind " + origin + "\n http-request return status 200 content-type text/plain file " + body + "\n",
		"haproxy": common + "frontend f\n bind " + b.addr["haproxy"] + "\n default_backend b\nbackend b\n option forwardfor\n server s " + origin + "\n",
	}
	for name, cfg := range configs {
		file := filepath.Join(dir, name+".cfg")
		if err := os.WriteFile(file, []byte(cfg), 0o600); err != nil {
			return b, err
		}
		if err := b.launch(ctx, name, "haproxy", "-db", "-q", "-f", file); err != nil {
			return b, err
		}
	}
	// The gateway gets its routes from the disk, as after a restart while the
	// cluster is away.
	t := route.Empty("localhost")
	t.Names = map[string][]string{"app": {"bench"}}
	t.Services = map[string]*route.Service{"app.bench": {Backend: "bench/app:80"}}
	t.Backends = map[string]*route.Backend{"bench/app:80": {Endpoints: []string{origin}}}
	routes, err := json.Marshal(t)
	if err != nil {
		return b, err
	}
	if err := os.Mkdir(filepath.Join(dir, "gateway"), 0o700); err != nil {
		return b, err
	}
	if err := os.WriteFile(filepath.Join(dir, "gateway", "routes.json"), routes, 0o600); err != nil {
		return b, err
	}
	if err := b.launch(ctx, "gateway", o.penstock, "gateway", "--data-dir", dir, "--listen", b.addr["gateway"]); err != nil {
		return b, err
	}
	for name, addr := range b.addr {
		if err := answers(ctx, addr); err != nil {
			return b, fmt.Errorf("start %s: %w", name, err)
		}
	}
	return b, nil
}

func (b *bench) launch(ctx context.Context, name, program string, args ...string) error {
	c := exec.CommandContext(ctx, program, args...)
	c.Stderr = os.Stderr
	if name == "gateway" {
		c.Stderr = nil
	}
	if err := c.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	b.procs = append(b.procs, c)
	b.pid[name] = c.Process.Pid
	return nil
}

func answers(ctx context.Context, addr string) error {
	var last error
	for range 100 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/", nil)
		if err != nil {
			return err
		}
		req.Host = "app.localhost"
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(res.Status)
		}
		last = err
		time.Sleep(50 * time.Millisecond)
	}
	return last
}

var (
	rpsLine = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
	reqLine = regexp.MustCompile(`(\d+) requests in`)
	p99Line = regexp.MustCompile(`99%\s+(\S+)`)
	badLine = regexp.MustCompile(`(?m)^\s*(Non-2xx or 3xx responses:.*|Socket errors:.*)$`)
)

func (b *bench) measure(ctx context.Context, o options, name string) (sample, error) {
	before, err := cpuTime(b.pid[name])
	if err != nil {
		return sample{}, err
	}
	out, err := exec.CommandContext(ctx, "wrk", "-t1", "-c"+strconv.Itoa(o.connections), "-d"+o.duration.String(), "--latency",
		"-H", "Host: app.localhost", "http://"+b.addr[name]+"/").CombinedOutput()
	if err != nil {
		return sample{}, fmt.Errorf("run wrk: %w: %s", err, out)
	}
	after, err := cpuTime(b.pid[name])
	if err != nil {
		return sample{}, err
	}
	if bad := badLine.Find(out); bad != nil {
		return sample{}, fmt.Errorf("measure %s: %s", name, bad)
	}
	rps, requests, p99 := rpsLine.FindSubmatch(out), reqLine.FindSubmatch(out), p99Line.FindSubmatch(out)
	if rps == nil || requests == nil || p99 == nil {
		return sample{}, fmt.Errorf("read the output of wrk: %s", out)
	}
	s := sample{p99: string(p99[1])}
	s.rps, _ = strconv.ParseFloat(string(rps[1]), 64)
	n, _ := strconv.ParseFloat(string(requests[1]), 64)
	s.cpu = (after - before).Seconds() / n * 1e6
	return s, nil
}

// cpuTime reads what the process has used; the kernel counts in hundredths of
// a second.
func cpuTime(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0, fmt.Errorf("read /proc/%d/stat: too short", pid)
	}
	user, err1 := strconv.Atoi(f[11])
	sys, err2 := strconv.Atoi(f[12])
	return time.Duration(user+sys) * 10 * time.Millisecond, errors.Join(err1, err2)
}

func freePorts(n int) ([]string, error) {
	var open []net.Listener
	var out []string
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		open = append(open, ln)
		out = append(out, ln.Addr().String())
	}
	for _, ln := range slices.Backward(open) {
		ln.Close()
	}
	return out, nil
}
