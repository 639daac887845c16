// Package project decides what an Application may use, by its AppProject. It
// is pure.
package project

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/base/glob"
)

// Check says what of spec the project does not allow.
func Check(p v1alpha1.AppProjectSpec, name string, spec v1alpha1.ApplicationSpec) []string {
	var out []string
	if s := spec.Source; s != nil && !allowed(p.SourceRepos, s.RepoURL, '/') {
		out = append(out, fmt.Sprintf("application repo %s is not permitted in project '%s'", s.RepoURL, name))
	}
	if !destination(p.Destinations, spec.Destination) {
		d := spec.Destination
		out = append(out, fmt.Sprintf("application destination server '%s' and namespace '%s' do not match any of the allowed destinations in project '%s'", d.Server, d.Namespace, name))
	}
	return out
}

// PermitsNamespace says whether objects may be in a namespace of the cluster.
func PermitsNamespace(p v1alpha1.AppProjectSpec, cluster v1alpha1.Destination, namespace string) bool {
	cluster.Namespace = namespace
	return destination(p.Destinations, cluster)
}

// PermitsKind says whether objects of a kind may be managed. Namespaced kinds
// are allowed unless a list says otherwise, cluster-scoped kinds are not.
func PermitsKind(p v1alpha1.AppProjectSpec, gk schema.GroupKind, name string, namespaced bool) bool {
	if namespaced {
		return (p.NamespaceResourceWhitelist == nil || listed(p.NamespaceResourceWhitelist, gk, "")) &&
			!listed(p.NamespaceResourceBlacklist, gk, "")
	}
	return listed(p.ClusterResourceWhitelist, gk, name) && !listed(p.ClusterResourceBlacklist, gk, name)
}

func listed(list []v1alpha1.GroupKind, gk schema.GroupKind, name string) bool {
	for _, e := range list {
		if glob.Match(e.Group, gk.Group, 0) && glob.Match(e.Kind, gk.Kind, 0) && (e.Name == "" || glob.Match(e.Name, name, 0)) {
			return true
		}
	}
	return false
}

// allowed says whether some pattern matches s and none that starts with "!"
// does.
func allowed(patterns []string, s string, separator rune) bool {
	ok := false
	for _, p := range patterns {
		deny, negated := strings.CutPrefix(p, "!")
		switch {
		case negated && matches(deny, s, separator):
			return false
		case !negated && matches(p, s, separator):
			ok = true
		}
	}
	return ok
}

func matches(pattern, s string, separator rune) bool {
	return pattern == "*" || glob.Match(pattern, s, separator)
}

// destination says whether some entry matches d and none with a "!" does; the
// "!" may stand before any of its parts.
func destination(list []v1alpha1.Destination, d v1alpha1.Destination) bool {
	ok := false
	for _, e := range list {
		server, deny1 := strings.CutPrefix(e.Server, "!")
		name, deny2 := strings.CutPrefix(e.Name, "!")
		namespace, deny3 := strings.CutPrefix(e.Namespace, "!")
		cluster := server != "" && matches(server, d.Server, 0) || name != "" && matches(name, d.Name, 0)
		if !cluster || !matches(namespace, d.Namespace, 0) {
			continue
		}
		if deny1 || deny2 || deny3 {
			return false
		}
		ok = true
	}
	return ok
}
