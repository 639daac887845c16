// Command penstock-tools is the one program of Penstock's tool image. Its first
// argument names the tool.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

var tools = map[string]func(ctx context.Context, args []string) error{
	"serve":  serve,
	"get":    get,
	"lookup": lookup,
	"tick":   tick,
	"sleep":  sleep,
	"print":  printArgs,
	"cat":    cat,
	"write":  write,
	"fail":   func(context.Context, []string) error { return errors.New("asked to fail") },
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if len(os.Args) < 2 || tools[os.Args[1]] == nil {
		var names []string
		for n := range tools {
			names = append(names, n)
		}
		slices.Sort(names)
		fmt.Fprintln(os.Stderr, "usage: tools", strings.Join(names, "|"), "[arguments]")
		os.Exit(2)
	}
	if err := tools[os.Args[1]](ctx, os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}

func arg(args []string, i int, def string) string {
	if i < len(args) {
		return args[i]
	}
	return def
}

// serve ADDRESS TEXT answers each HTTP request with the host's name and TEXT.
func serve(ctx context.Context, args []string) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	text := arg(args, 1, "")
	s := &http.Server{
		Addr:              arg(args, 0, ":8080"),
		ReadHeaderTimeout: 5 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s %s %s\n", host, r.URL.Path, text)
		}),
	}
	ended := make(chan error, 1)
	go func() { ended <- s.ListenAndServe() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return s.Shutdown(last)
}

// get URL prints the answer.
func get(ctx context.Context, args []string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, arg(args, 0, ""), nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(os.Stdout, io.LimitReader(resp.Body, 1<<20)); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// lookup NAME prints its addresses.
func lookup(ctx context.Context, args []string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupHost(ctx, arg(args, 0, ""))
	if err != nil {
		return err
	}
	slices.Sort(addrs)
	fmt.Println(strings.Join(addrs, "\n"))
	return nil
}

// tick INTERVAL prints numbered lines.
func tick(ctx context.Context, args []string) error {
	d, err := time.ParseDuration(arg(args, 0, "1s"))
	if err != nil {
		return err
	}
	for i := 1; ; i++ {
		fmt.Println("tick", i)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(d):
		}
	}
}

// sleep DURATION waits; without one, until it is told to end.
func sleep(ctx context.Context, args []string) error {
	d, err := time.ParseDuration(arg(args, 0, "87600h"))
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
	return nil
}

func printArgs(_ context.Context, args []string) error {
	fmt.Println(strings.Join(args, " "))
	return nil
}

// cat FILE prints it; without one, what comes in.
func cat(_ context.Context, args []string) error {
	in := os.Stdin
	if len(args) > 0 {
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	_, err := io.Copy(os.Stdout, in)
	return err
}

// write FILE TEXT appends a line and syncs it.
func write(_ context.Context, args []string) error {
	f, err := os.OpenFile(arg(args, 0, ""), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := fmt.Fprintln(f, arg(args, 1, "")); err != nil {
		return err
	}
	return f.Sync()
}
