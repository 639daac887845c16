package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/face/demo"
	"github.com/penstock-dev/penstock/internal/face/live"
	"github.com/penstock-dev/penstock/internal/host/machine"
)

type demoFlags struct {
	once, wipe, plain bool
	keep              string
	timeout           time.Duration
}

func newDemo(g *Globals) *cobra.Command {
	var f demoFlags
	c := &cobra.Command{
		Use:   "demo",
		Short: "Take a sample application from git push to answering",
		Long: `Take a sample application from git push to answering.

Starts Penstock unless it runs, makes the user demo, a developer, and as that
user creates the repositories demo/shop and demo/shop-manifests, pushes the shop and follows its workflow, its image, the
sync of its Application and its address until the pushed version answers. Then
it pushes a change, and promotes what dev runs to staging and production.

It may be repeated. Penstock runs on afterwards, so that you can look around;
"penstock down" ends it.`,
		Example: "  penstock demo\n  penstock demo --once --keep ./demo\n  penstock demo --wipe -o json",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return runDemo(c.Context(), g, f) },
	}
	c.Flags().BoolVar(&f.once, "once", false, "push one version, no change after it")
	c.Flags().BoolVar(&f.wipe, "wipe", false, "remove at the end what the demo made; the whole platform with its data, if the demo started it")
	c.Flags().BoolVar(&f.plain, "plain", false, "print lines of ASCII text, never redraw")
	c.Flags().StringVar(&f.keep, "keep", "", "keep the working copies in `DIR`, to push from them")
	c.Flags().DurationVar(&f.timeout, "timeout", 15*time.Minute, "how long all of it may take")
	return c
}

func runDemo(ctx context.Context, g *Globals, f demoFlags) (err error) {
	m, err := machine.At(g.DataDir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, f.timeout, problem.ErrTimeout)
	defer cancel()
	status, started, err := ensureUp(ctx, g, m)
	if err != nil {
		return err
	}
	if f.wipe {
		defer func() { err = errors.Join(err, wipeDemo(g, m, started)) }()
	}
	dir, done, err := demoDir(f.keep)
	if err != nil {
		return err
	}
	defer done()

	g.Server = status.Server
	admin, err := g.Client()
	if err != nil {
		return err
	}
	user, err := newDeveloper(ctx, admin, status.Kubeconfig, f.timeout)
	defer func() { err = errors.Join(err, user.end(admin)) }()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own program: %w", err)
	}
	view := live.New(g.Err, f.plain)
	result, err := demo.New(demo.Options{
		API: user.api, Token: user.api.Token(), Kube: user.kube, Server: status.Server, Gateway: portOf(status.Gateway),
		DataDir: m.DataDir(), Program: self, Dir: dir, Once: f.once, View: view,
	}).Run(ctx)
	view.Close()
	if len(result.Rounds) > 0 {
		if perr := g.Print(result, func(w io.Writer) { printDemo(w, result) }); perr != nil {
			return perr
		}
	}
	if err != nil {
		return err
	}
	if !f.wipe && g.Output == "table" {
		fmt.Fprintln(g.Err, "\nPenstock runs on: penstock app list, penstock ci list; penstock down ends it.")
	}
	return nil
}

// ensureUp starts Penstock unless it is ready.
func ensureUp(ctx context.Context, g *Globals, m *machine.Machine) (st machine.Status, started bool, err error) {
	if st, err = m.Status(ctx); err != nil || st.Ready {
		return st, false, err
	}
	s, err := m.Settings()
	if err != nil {
		return st, false, err
	}
	if err := checkFailed(m.Check(ctx, s), problem.ExitFailed); err != nil {
		return st, false, err
	}
	view := newUpView(g.Err)
	defer view.close()
	if err := m.UpDetached(ctx, machine.UpOptions{Settings: s, Timeout: 3 * time.Minute, Progress: view.show}); err != nil {
		return st, false, err
	}
	st, err = m.Status(ctx)
	return st, true, err
}

// wipeDemo removes what the demo made. It has a deadline of its own, because
// the demo's may be the reason why it ended.
func wipeDemo(g *Globals, m *machine.Machine, started bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if started {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find own program: %w", err)
		}
		return runSelf(ctx, g, self, "down", "--wipe", "--data-dir", m.DataDir())
	}
	kube, err := demoKube(m.Kubeconfig(), rest.ImpersonationConfig{})
	if err != nil {
		return err
	}
	if err := demo.RemoveApplications(ctx, kube); err != nil {
		return err
	}
	api, err := g.Client()
	if err != nil {
		return err
	}
	for _, repo := range demo.Repositories() {
		if err := api.Do(ctx, http.MethodDelete, "/api/v1/repos/"+repo, nil, nil); err != nil && !errors.Is(err, problem.ErrNotFound) {
			return &problem.Error{Op: "delete repository", Subject: repo, Err: err, Hint: "penstock repo delete " + repo + " --yes"}
		}
	}
	if err := api.Do(ctx, http.MethodDelete, "/api/v1/users/"+demoUser, nil, nil); err != nil && !errors.Is(err, problem.ErrNotFound) {
		return &problem.Error{Op: "delete user", Subject: demoUser, Err: err, Hint: "penstock user delete " + demoUser}
	}
	return nil
}

// demoDir is where the working copies are; done removes it unless it is to be
// kept.
func demoDir(keep string) (dir string, done func(), err error) {
	if keep == "" {
		dir, err := os.MkdirTemp("", "penstock-demo-")
		if err != nil {
			return "", nil, fmt.Errorf("make a place for the working copies: %w", err)
		}
		return dir, func() { _ = os.RemoveAll(dir) }, nil
	}
	if dir, err = filepath.Abs(keep); err != nil {
		return "", nil, err
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return "", nil, &problem.Error{Op: "keep the working copies in", Subject: dir, Err: errors.New("the directory is not empty"), Code: problem.ExitUsage, Hint: "choose another one with --keep"}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, fmt.Errorf("keep the working copies: %w", err)
	}
	return dir, func() {}, nil
}

func printDemo(w io.Writer, r demo.Result) {
	for _, round := range r.Rounds {
		fmt.Fprintf(w, "\n%s, commit %.8s\n", round.Name, round.Commit)
		fmt.Fprintf(w, "  STAGE\tTOOK\tSINCE PUSH\n")
		for _, s := range round.Stages {
			fmt.Fprintf(w, "  %s\t%.1fs\t%.1fs\n", s.Name, s.Seconds, s.SincePush)
		}
		for _, u := range round.URLs {
			// No tab: addresses are not part of the columns.
			fmt.Fprintf(w, "  answers on %s\n", u)
		}
	}
}

func portOf(url string) string { return url[strings.LastIndexByte(url, ':')+1:] }
