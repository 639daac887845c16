package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/face/live"
	"github.com/penstock-dev/penstock/internal/host/machine"
)

func newUp(g *Globals) *cobra.Command {
	var (
		detach  bool
		noLogin bool
		timeout time.Duration
		s       machine.Settings
	)
	c := &cobra.Command{
		Use:   "up",
		Short: "Start the whole platform on this machine and supervise it",
		Long: `Start the whole platform on this machine and supervise it: the embedded
Kubernetes node, the gateway and the server. What already runs is adopted.

In the foreground, Ctrl-C ends the server; the node with its Pods and the
gateway run on. "penstock down" ends everything.`,
		Example: "  penstock up\n  penstock up --detach && penstock status",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			m, err := machine.At(g.DataDir)
			if err != nil {
				return err
			}
			if err := keepSettings(c, m, &s); err != nil {
				return err
			}
			if err := checkFailed(m.Check(c.Context(), s), problem.ExitFailed); err != nil {
				return err
			}
			view := newUpView(g.Err)
			defer view.close()
			began := time.Now()
			ready := func() {
				view.close()
				fmt.Fprintf(g.Err, "ready in %.1f s\n", time.Since(began).Seconds())
				printWhere(g.Out, m, s)
				if !noLogin {
					printLogin(c.Context(), g, m.ServerURL(s))
				}
			}
			if detach {
				if err := m.UpDetached(c.Context(), machine.UpOptions{Settings: s, Timeout: timeout, Progress: view.show}); err != nil {
					return err
				}
				ready()
				return nil
			}
			err = m.Up(c.Context(), machine.UpOptions{Settings: s, Timeout: timeout, Progress: view.show, Ready: ready, Log: g.Log()})
			if err == nil && c.Context().Err() != nil {
				fmt.Fprintln(g.Err, "server stopped; the node and the gateway run on (penstock down ends them)")
			}
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		},
	}
	c.Flags().BoolVarP(&detach, "detach", "d", false, "return when everything is ready and go on in the background")
	c.Flags().BoolVar(&noLogin, "no-login-link", false, "print no link that logs a browser in")
	c.Flags().DurationVar(&timeout, "timeout", 3*time.Minute, "how long everything may take to become ready")
	c.Flags().StringVar(&s.Listen, "listen", machine.DefaultListen, "`address` of the server")
	c.Flags().StringVar(&s.GatewayListen, "gateway-listen", machine.DefaultGatewayListen, "`address` of the gateway")
	return c
}

// keepSettings uses those of the last start where no flag says otherwise.
func keepSettings(c *cobra.Command, m *machine.Machine, s *machine.Settings) error {
	last, err := m.Settings()
	if err != nil {
		return &problem.Error{Op: "read the settings of the last start", Err: err, Hint: "remove settings.json in " + m.DataDir()}
	}
	if !c.Flags().Changed("listen") {
		s.Listen = last.Listen
	}
	if !c.Flags().Changed("gateway-listen") {
		s.GatewayListen = last.GatewayListen
	}
	return nil
}

// upView shows the processes on their way to ready. Elsewhere than on a
// terminal it leaves out what they wait for, which changes many times a second.
type upView struct {
	view    live.View
	details bool

	mu     sync.Mutex
	items  []live.Item
	closed bool
}

func newUpView(out io.Writer) *upView {
	v := &upView{view: live.New(out, false), details: live.Terminal(out)}
	for _, name := range []string{machine.Node, machine.Gateway, machine.Server} {
		v.items = append(v.items, live.Item{State: "waiting", Name: name, Began: time.Now()})
	}
	return v
}

func (v *upView) show(p machine.Progress) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return
	}
	for i := range v.items {
		item := &v.items[i]
		switch {
		case item.Name != p.Name:
		case p.State == "ready":
			item.State, item.Detail, item.Ended = "running", "", time.Now()
		case p.State == "waiting" && v.details:
			item.Detail = p.Detail
		}
	}
	v.view.Update(slices.Clone(v.items))
}

// close leaves the last state on the screen; what comes later is not shown.
func (v *upView) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.closed {
		v.closed = true
		v.view.Close()
	}
}

// printLogin prints a login link. Everything else runs without one.
func printLogin(ctx context.Context, g *Globals, server string) {
	here := *g
	here.Server = server
	link, err := makeLoginLink(ctx, &here, "")
	if err != nil {
		fmt.Fprintf(g.Err, "warning: no login link: %v\nhint: penstock login-link\n", err)
		return
	}
	fmt.Fprintf(g.Out, "log in        %s (once, within 15 minutes; then penstock login-link)\n", link.URL)
}

func printWhere(w io.Writer, m *machine.Machine, s machine.Settings) {
	fmt.Fprintf(w, "server        %s\napplications  %s\nkubectl       export KUBECONFIG=%s\n", m.ServerURL(s), m.GatewayURL(s), m.Kubeconfig())
}
