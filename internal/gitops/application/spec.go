package application

import (
	"fmt"
	"strings"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/gitops/project"
	"github.com/penstock-dev/penstock/internal/gitops/sync"
)

// checkSpec says what keeps an Application from being reconciled: fields that
// this version does not serve, and what makes no sense.
func checkSpec(spec v1alpha1.ApplicationSpec, unserved []string) []string {
	var out []string
	for _, f := range unserved {
		if strings.HasPrefix(f, "spec.") {
			out = append(out, f+" is not served by this version")
		}
	}
	switch s := spec.Source; {
	case s == nil && len(unserved) == 0:
		out = append(out, "spec.source is missing")
	case s == nil:
	case s.RepoURL == "":
		out = append(out, "spec.source.repoURL is missing")
	case s.Path == "":
		out = append(out, "spec.source.path is missing (a chart is not served by this version)")
	}
	out = append(out, checkDestination(spec.Destination)...)
	if p := spec.SyncPolicy; p != nil {
		if _, bad := sync.ParseOptions(p.SyncOptions); len(bad) > 0 {
			out = append(out, "spec.syncPolicy.syncOptions: not served by this version: "+strings.Join(bad, ", "))
		}
		if p.Retry != nil {
			if err := sync.CheckRetry(*p.Retry); err != nil {
				out = append(out, "spec.syncPolicy."+err.Error())
			}
		}
	}
	return out
}

func checkDestination(d v1alpha1.Destination) []string {
	switch {
	case d.Server == "" && d.Name == "":
		return []string{"spec.destination needs a server or a name; this cluster is " + v1alpha1.InClusterServer}
	case d.Server != "" && d.Name != "":
		return []string{"spec.destination has both server and name; use one"}
	case d.Server != "" && strings.TrimSuffix(d.Server, "/") != v1alpha1.InClusterServer:
		return []string{fmt.Sprintf("spec.destination.server %s is not served by this version: only %s is", d.Server, v1alpha1.InClusterServer)}
	case d.Name != "" && d.Name != v1alpha1.InClusterName:
		return []string{fmt.Sprintf("spec.destination.name %s is not served by this version: only %s is", d.Name, v1alpha1.InClusterName)}
	}
	return nil
}

// whole fills in what a destination leaves open, so that projects can be
// compared with it.
func whole(d v1alpha1.Destination) v1alpha1.Destination {
	d.Server, d.Name = v1alpha1.InClusterServer, v1alpha1.InClusterName
	return d
}

// checkProject says what the Application's project forbids.
func checkProject(p *v1alpha1.AppProject, unserved []string, spec v1alpha1.ApplicationSpec) []string {
	if len(unserved) > 0 {
		return []string{fmt.Sprintf("project %s uses %s, not served by this version", p.Name, strings.Join(unserved, ", "))}
	}
	spec.Destination = whole(spec.Destination)
	return project.Check(p.Spec, p.Name, spec)
}
