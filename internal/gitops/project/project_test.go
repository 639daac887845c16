package project_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/gitops/project"
)

const inCluster = v1alpha1.InClusterServer

func TestCheck(t *testing.T) {
	team := v1alpha1.AppProjectSpec{
		SourceRepos: []string{"https://git.example/team/*", "!https://git.example/team/secret"},
		Destinations: []v1alpha1.Destination{
			{Server: inCluster, Namespace: "team-*"},
			{Server: inCluster, Namespace: "!team-prod"},
		},
	}
	for _, tt := range []struct {
		name       string
		repo, ns   string
		violations int
	}{
		{"allowed", "https://git.example/team/a", "team-dev", 0},
		{"other repository", "https://git.example/other/a", "team-dev", 1},
		{"deeper repository", "https://git.example/team/a/b", "team-dev", 1},
		{"denied repository", "https://git.example/team/secret", "team-dev", 1},
		{"other namespace", "https://git.example/team/a", "kube-system", 1},
		{"denied namespace", "https://git.example/team/a", "team-prod", 1},
		{"both", "https://x", "y", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := project.Check(team, "team", v1alpha1.ApplicationSpec{
				Source:      &v1alpha1.Source{RepoURL: tt.repo},
				Destination: v1alpha1.Destination{Server: inCluster, Namespace: tt.ns},
			})
			if len(got) != tt.violations {
				t.Errorf("got %q, want %d violations", got, tt.violations)
			}
		})
	}
	if v := project.Check(v1alpha1.AppProjectSpec{}, "empty", v1alpha1.ApplicationSpec{Source: &v1alpha1.Source{RepoURL: "x"}}); len(v) != 2 {
		t.Errorf("an empty project allows something: %q", v)
	}
}

func TestPermitsKind(t *testing.T) {
	deployment := schema.GroupKind{Group: "apps", Kind: "Deployment"}
	namespace := schema.GroupKind{Kind: "Namespace"}
	any := v1alpha1.GroupKind{Group: "*", Kind: "*"}
	for _, tt := range []struct {
		name       string
		p          v1alpha1.AppProjectSpec
		gk         schema.GroupKind
		object     string
		namespaced bool
		want       bool
	}{
		{"namespaced by default", v1alpha1.AppProjectSpec{}, deployment, "x", true, true},
		{"cluster-scoped by default", v1alpha1.AppProjectSpec{}, namespace, "x", false, false},
		{"cluster-scoped allowed", v1alpha1.AppProjectSpec{ClusterResourceWhitelist: []v1alpha1.GroupKind{any}}, namespace, "x", false, true},
		{"cluster-scoped by name", v1alpha1.AppProjectSpec{ClusterResourceWhitelist: []v1alpha1.GroupKind{{Kind: "Namespace", Name: "team-*"}}}, namespace, "team-a", false, true},
		{"cluster-scoped by other name", v1alpha1.AppProjectSpec{ClusterResourceWhitelist: []v1alpha1.GroupKind{{Kind: "Namespace", Name: "team-*"}}}, namespace, "x", false, false},
		{"denied wins", v1alpha1.AppProjectSpec{NamespaceResourceWhitelist: []v1alpha1.GroupKind{any}, NamespaceResourceBlacklist: []v1alpha1.GroupKind{{Group: "apps", Kind: "*"}}}, deployment, "x", true, false},
		{"empty list allows nothing", v1alpha1.AppProjectSpec{NamespaceResourceWhitelist: []v1alpha1.GroupKind{}}, deployment, "x", true, false},
	} {
		if got := project.PermitsKind(tt.p, tt.gk, tt.object, tt.namespaced); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
