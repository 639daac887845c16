package compare

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
)

// Options of one object, from its annotations.
type Options struct {
	NoPrune           bool // Prune=false
	PruneLast         bool
	NoDelete          bool // Delete=false
	Lenient           bool // Validate=false
	SkipMissingKind   bool // SkipDryRunOnMissingResource=true
	IgnoreExtraneous  bool
	IgnoreHealthcheck bool
	Wave              int
}

// OptionsOf reads the annotations of u. unserved names what this version does
// not do.
func OptionsOf(u *unstructured.Unstructured) (o Options, unserved []string) {
	a := u.GetAnnotations()
	for _, s := range split(a[v1alpha1.AnnotationSyncOptions]) {
		switch s {
		case "Prune=false":
			o.NoPrune = true
		case "PruneLast=true":
			o.PruneLast = true
		case "Delete=false":
			o.NoDelete = true
		case "Validate=false":
			o.Lenient = true
		case "SkipDryRunOnMissingResource=true":
			o.SkipMissingKind = true
		case "Prune=true", "Delete=true", "Validate=true", "ServerSideApply=true", "Replace=false", "Force=false":
			// what is done anyway
		default:
			unserved = append(unserved, v1alpha1.AnnotationSyncOptions+": "+s)
		}
	}
	for _, s := range split(a[v1alpha1.AnnotationCompareOptions]) {
		switch s {
		case "IgnoreExtraneous", "IgnoreExtraneous=true":
			o.IgnoreExtraneous = true
		case "ServerSideDiff=true", "IncludeMutationWebhook=true":
			// what is done anyway
		default:
			unserved = append(unserved, v1alpha1.AnnotationCompareOptions+": "+s)
		}
	}
	if a["helm.sh/resource-policy"] == "keep" {
		o.NoPrune, o.NoDelete = true, true
	}
	o.IgnoreHealthcheck = a[v1alpha1.AnnotationIgnoreHealthcheck] == "true"
	for _, name := range []string{v1alpha1.AnnotationSyncWave, "helm.sh/hook-weight"} {
		if w, err := strconv.Atoi(strings.TrimSpace(a[name])); err == nil {
			o.Wave = w
			break
		}
	}
	for _, hook := range []string{v1alpha1.AnnotationHook, "helm.sh/hook"} {
		if v, ok := a[hook]; ok && v != "crd-install" {
			unserved = append(unserved, fmt.Sprintf("%s: %s (hooks)", hook, v))
		}
	}
	slices.Sort(unserved)
	return o, unserved
}

func split(s string) []string {
	var out []string
	for _, p := range strings.Split(s, ",") {
		if p = strings.TrimSpace(p); p != "" {
			out = append(out, p)
		}
	}
	return out
}
