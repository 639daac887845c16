package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/dynamic"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/gitops/ask"
)

func newAppGet(f *appFlags) *cobra.Command {
	refresh, hard := false, false
	c := &cobra.Command{
		Use:     "get NAME",
		Aliases: []string{"view"},
		Short:   "Show an Application, its last operation and its objects",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := f.client()
			if err != nil {
				return err
			}
			if refresh || hard {
				if err := askRefresh(c.Context(), client, args[0], hard); err != nil {
					return err
				}
			}
			u, app, err := getApp(c.Context(), client, args[0])
			if err != nil {
				return err
			}
			u.SetManagedFields(nil)
			return f.g.Print(u.Object, func(w io.Writer) { printApp(w, app, time.Now()) })
		},
	}
	c.Flags().BoolVar(&refresh, "refresh", false, "compare with the repository first")
	c.Flags().BoolVar(&hard, "hard-refresh", false, "compare with the repository first, trusting nothing known")
	return c
}

// refreshTimeout bounds the wait for a comparison that was asked for.
const refreshTimeout = time.Minute

// askRefresh asks for a comparison and waits for it: the controller removes
// the annotation with which it is asked.
func askRefresh(ctx context.Context, client dynamic.ResourceInterface, name string, hard bool) error {
	if err := ask.Refresh(ctx, client, manager, name, hard); err != nil {
		return appError("refresh application", name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	err := watchApp(ctx, client, name, func(a *v1alpha1.Application) (bool, error) {
		return a.Annotations[v1alpha1.AnnotationRefresh] == "", nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return &problem.Error{Op: "refresh application", Subject: name, Err: fmt.Errorf("%w after %s", problem.ErrTimeout, refreshTimeout), Hint: "is the server running? penstock status"}
	}
	return err
}

func printApp(w io.Writer, a *v1alpha1.Application, now time.Time) {
	src := sourceOf(a)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s:\t%s\n", name, value)
		}
	}
	row("Name", a.Namespace+"/"+a.Name)
	row("Project", a.Spec.Project)
	row("Destination", orDash(a.Spec.Destination.Server+a.Spec.Destination.Name)+" "+a.Spec.Destination.Namespace)
	row("Repository", src.RepoURL)
	row("Path", src.Path)
	row("Target", orHead(src.TargetRevision))
	row("Type", a.Status.SourceType)
	row("Sync policy", policyText(a.Spec.SyncPolicy))
	row("Sync status", syncText(a))
	row("Health", healthText(a.Status.Health))
	for _, url := range a.Status.Summary.ExternalURLs {
		row("URL", url)
	}
	for _, image := range a.Status.Summary.Images {
		row("Image", image)
	}
	if t := a.Status.ReconciledAt; t != nil {
		row("Compared", shortAge(now.Sub(t.Time))+" ago")
	}
	printOperation(w, a.Status.OperationState)
	if len(a.Status.Conditions) > 0 {
		fmt.Fprintln(w, "\nCONDITION\tMESSAGE")
		for _, c := range a.Status.Conditions {
			fmt.Fprintf(w, "%s\t%s\n", c.Type, c.Message)
		}
	}
	printResources(w, a)
}

func policyText(p *v1alpha1.SyncPolicy) string {
	if !p.On() {
		return "manual"
	}
	s := "automated"
	if p.Automated.Prune {
		s += ", prune"
	}
	if p.Automated.SelfHeal {
		s += ", self-heal"
	}
	return s
}

func syncText(a *v1alpha1.Application) string {
	s := orDash(a.Status.Sync.Status)
	if a.Status.Sync.Revision != "" {
		s += fmt.Sprintf(" with %s (%.10s)", orHead(sourceOf(a).TargetRevision), a.Status.Sync.Revision)
	}
	return s
}

func healthText(h v1alpha1.HealthStatus) string {
	if h.Message == "" {
		return orDash(h.Status)
	}
	return h.Status + ": " + h.Message
}

func printOperation(w io.Writer, s *v1alpha1.OperationState) {
	if s == nil {
		return
	}
	by := s.Operation.InitiatedBy.Username
	if s.Operation.InitiatedBy.Automated {
		by = "automated"
	}
	fmt.Fprintf(w, "Last sync:\t%s", s.Phase)
	if s.SyncResult != nil {
		fmt.Fprintf(w, " %.10s", s.SyncResult.Revision)
	}
	if s.FinishedAt != nil {
		fmt.Fprintf(w, ", took %s", s.FinishedAt.Sub(s.StartedAt.Time).Round(time.Second))
	}
	if by != "" {
		fmt.Fprintf(w, ", by %s", by)
	}
	fmt.Fprintf(w, "\n")
	if s.Message != "" {
		fmt.Fprintf(w, "Message:\t%s\n", s.Message)
	}
}

func printResources(out io.Writer, a *v1alpha1.Application) {
	if len(a.Status.Resources) == 0 {
		return
	}
	fmt.Fprintln(out)
	if tw, ok := out.(*tabwriter.Writer); ok { // the columns below are others
		_ = tw.Flush()
	}
	fmt.Fprintln(out, "GROUP\tKIND\tNAMESPACE\tNAME\tSTATUS\tHEALTH\tMESSAGE")
	for _, r := range a.Status.Resources {
		health, message := "", ""
		if r.Health != nil {
			health, message = r.Health.Status, r.Health.Message
		}
		if r.Why != "" {
			message = r.Why
		}
		if message == "" {
			message = lastResult(a, r)
		}
		status := r.Status
		if r.RequiresPruning {
			status += " (prune)"
		}
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Group, r.Kind, r.Namespace, r.Name, status, health, message)
	}
}

// lastResult is what the last sync did to an object.
func lastResult(a *v1alpha1.Application, r v1alpha1.ResourceStatus) string {
	if a.Status.OperationState == nil || a.Status.OperationState.SyncResult == nil {
		return ""
	}
	for _, res := range a.Status.OperationState.SyncResult.Resources {
		if res.Group == r.Group && res.Kind == r.Kind && res.Namespace == r.Namespace && res.Name == r.Name {
			return res.Message
		}
	}
	return ""
}
