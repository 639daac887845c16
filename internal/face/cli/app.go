package cli

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/dynamic"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/cluster"
)

// appFlags are the flags that every command about Applications has.
type appFlags struct {
	g          *Globals
	kubeconfig string
	namespace  string
}

func newApp(g *Globals) *cobra.Command {
	f := &appFlags{g: g}
	c := &cobra.Command{
		Use:   "app",
		Short: "Argo CD Applications: list, show, sync, wait",
		Long: `Argo CD Applications: list, show, sync, wait.

These commands read and write Application objects in the cluster, as kubectl
would; Kubernetes decides who may.`,
	}
	p := c.PersistentFlags()
	p.StringVar(&f.kubeconfig, "kubeconfig", "", "`file` that says where the cluster is (default: that of the embedded node)")
	p.StringVarP(&f.namespace, "namespace", "n", "argocd", "`namespace` of the Applications")
	c.AddCommand(newAppList(f), newAppGet(f), newAppSync(f), newAppWait(f))
	return c
}

// client returns the client for Applications.
func (f *appFlags) client() (dynamic.ResourceInterface, error) {
	path := f.kubeconfig
	if path == "" {
		path = filepath.Join(f.g.DataDir, "node", "admin.kubeconfig")
	}
	config, err := cluster.Config(path)
	if err != nil {
		return nil, err
	}
	c, err := cluster.New(config)
	if err != nil {
		return nil, err
	}
	return c.Dynamic.Resource(v1alpha1.Applications).Namespace(f.namespace), nil
}

func newAppList(f *appFlags) *cobra.Command {
	var project, selector string
	c := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List Applications with sync and health",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := f.client()
			if err != nil {
				return err
			}
			list, err := client.List(c.Context(), metav1.ListOptions{LabelSelector: selector})
			if err != nil {
				return appError("list applications", "", err)
			}
			all := []map[string]any{}
			var apps []*v1alpha1.Application
			for i := range list.Items {
				u := &list.Items[i]
				app, _, err := v1alpha1.DecodeApplication(u)
				if err != nil {
					return fmt.Errorf("read application %s: %w", u.GetName(), err)
				}
				if project != "" && app.Spec.Project != project {
					continue
				}
				u.SetManagedFields(nil)
				all, apps = append(all, u.Object), append(apps, app)
			}
			return f.g.Print(all, func(w io.Writer) { printApps(w, f.g.Err, apps) })
		},
	}
	c.Flags().StringVarP(&project, "project", "p", "", "only Applications of this `project`")
	c.Flags().StringVarP(&selector, "selector", "l", "", "only Applications with these `labels`")
	return c
}

func printApps(w, errw io.Writer, apps []*v1alpha1.Application) {
	if len(apps) == 0 {
		fmt.Fprintln(errw, "no applications; kubectl apply one, see docs/gitops.md")
		return
	}
	fmt.Fprintln(w, "NAME\tNAMESPACE\tPROJECT\tSTATUS\tHEALTH\tSYNCPOLICY\tCONDITIONS\tREPO\tPATH\tTARGET")
	for _, a := range apps {
		src := sourceOf(a)
		fmt.Fprintln(w, strings.Join([]string{
			a.Namespace + "/" + a.Name, a.Spec.Destination.Namespace, a.Spec.Project,
			orDash(a.Status.Sync.Status), orDash(a.Status.Health.Status), policyWord(a.Spec.SyncPolicy),
			conditionWords(a), src.RepoURL, src.Path, orHead(src.TargetRevision),
		}, "\t"))
	}
}

func sourceOf(a *v1alpha1.Application) v1alpha1.Source {
	if a.Spec.Source == nil {
		return v1alpha1.Source{}
	}
	return *a.Spec.Source
}

// policyWord is Argo CD's word for a sync policy.
func policyWord(p *v1alpha1.SyncPolicy) string {
	if !p.On() {
		return "Manual"
	}
	if p.Automated.Prune {
		return "Auto-Prune"
	}
	return "Auto"
}

func conditionWords(a *v1alpha1.Application) string {
	var types []string
	for _, c := range a.Status.Conditions {
		types = append(types, c.Type)
	}
	if len(types) == 0 {
		return "<none>"
	}
	return strings.Join(types, ",")
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func orHead(s string) string {
	if s == "" {
		return "HEAD"
	}
	return s
}

// getApp reads an Application.
func getApp(ctx context.Context, client dynamic.ResourceInterface, name string) (*unstructured.Unstructured, *v1alpha1.Application, error) {
	u, err := client.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, nil, appError("read application", name, err)
	}
	app, _, err := v1alpha1.DecodeApplication(u)
	if err != nil {
		return nil, nil, fmt.Errorf("read application %s: %w", name, err)
	}
	return u, app, nil
}

// appError turns an error of the Kubernetes API into one for people.
func appError(op, name string, err error) error {
	p := &problem.Error{Op: op, Subject: name, Err: err}
	switch {
	case apierrors.IsNotFound(err) && name != "":
		p.Err, p.Code, p.Hint = problem.ErrNotFound, problem.ExitNotFound, "penstock app list"
	case apierrors.IsNotFound(err), meta.IsNoMatchError(err):
		p.Err, p.Hint = fmt.Errorf("the cluster does not know Applications"), "penstock up starts the server, which installs them"
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		p.Code = problem.ExitAuth
	case utilnet.IsConnectionRefused(err):
		p.Hint = "penstock status"
	}
	return p
}
