// Package sync makes the cluster what a repository says: [Plan] orders the
// objects into waves, [Next] decides from what was done and seen what to do
// now, and a [Syncer] does it. The state between steps is the list of results
// that the Application's status keeps, so a sync goes on after a crash where
// it was; writing an object twice changes nothing.
package sync

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Options of one sync.
type Options struct {
	Prune           bool
	DryRun          bool
	CreateNamespace bool
	PruneLast       bool
	Lenient         bool // Validate=false
	SkipMissingKind bool
	OutOfSyncOnly   bool
	FailOnShared    bool
	Propagation     metav1.DeletionPropagation
}

// ParseOptions reads spec.syncPolicy.syncOptions. unserved names what this
// version does not do.
func ParseOptions(list []string) (o Options, unserved []string) {
	o.Propagation = metav1.DeletePropagationForeground
	flags := map[string]*bool{
		"CreateNamespace":             &o.CreateNamespace,
		"PruneLast":                   &o.PruneLast,
		"SkipDryRunOnMissingResource": &o.SkipMissingKind,
		"ApplyOutOfSyncOnly":          &o.OutOfSyncOnly,
		"FailOnSharedResource":        &o.FailOnShared,
	}
	for _, s := range list {
		name, v, _ := strings.Cut(strings.TrimSpace(s), "=")
		flag, isFlag := flags[name]
		switch {
		case isFlag && (v == "true" || v == "false"):
			*flag = v == "true"
		case name == "Validate" && (v == "true" || v == "false"):
			o.Lenient = v == "false"
		case name == "PrunePropagationPolicy" && propagation[v] != "":
			o.Propagation = propagation[v]
		case name == "ServerSideApply" && v == "true", name == "Replace" && v == "false", name == "Force" && v == "false", name == "RespectIgnoreDifferences":
			// what is done anyway: without ignoreDifferences there is nothing
			// to respect
		default:
			unserved = append(unserved, s)
		}
	}
	slices.Sort(unserved)
	return o, unserved
}

var propagation = map[string]metav1.DeletionPropagation{
	"foreground": metav1.DeletePropagationForeground,
	"background": metav1.DeletePropagationBackground,
	"orphan":     metav1.DeletePropagationOrphan,
}
