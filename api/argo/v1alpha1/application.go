// Package v1alpha1 holds the Argo CD kinds that Penstock serves, as much of
// each as this version serves. The JSON names, annotations and labels are
// Argo CD's and are the contract.
//
// The schemas of the CRDs keep every field of spec, known or not, so that an
// object written for a newer or fuller controller survives unchanged; the
// controller decodes strictly and reports what it does not serve. Writers in
// this project patch single fields and never write a whole object back.
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Names of the API group.
const (
	Group   = "argoproj.io"
	Version = "v1alpha1"
)

// Annotations and finalizers of the Application kind and of what it manages.
const (
	// AnnotationRefresh asks for a comparison now: "normal" or "hard".
	AnnotationRefresh = "argocd.argoproj.io/refresh"
	// AnnotationTrackingID says on a managed object which Application owns it.
	AnnotationTrackingID = "argocd.argoproj.io/tracking-id"
	// AnnotationSyncWave orders objects within one sync.
	AnnotationSyncWave = "argocd.argoproj.io/sync-wave"
	// AnnotationSyncOptions holds options of one object.
	AnnotationSyncOptions = "argocd.argoproj.io/sync-options"
	// AnnotationCompareOptions holds comparison options of one object.
	AnnotationCompareOptions = "argocd.argoproj.io/compare-options"
	// AnnotationIgnoreHealthcheck keeps an object out of the application's health.
	AnnotationIgnoreHealthcheck = "argocd.argoproj.io/ignore-healthcheck"
	// AnnotationHook marks an object as a hook.
	AnnotationHook = "argocd.argoproj.io/hook"
	// FinalizerResources makes deleting an Application delete what it manages.
	FinalizerResources = "resources-finalizer.argocd.argoproj.io"
	// FinalizerResourcesBackground does so with background propagation.
	FinalizerResourcesBackground = "resources-finalizer.argocd.argoproj.io/background"
)

// Application says what is deployed: a directory of a repository at a
// revision, to a namespace of a cluster.
type Application struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Spec      ApplicationSpec   `json:"spec"`
	Status    ApplicationStatus `json:"status,omitempty"`
	Operation *Operation        `json:"operation,omitempty"`
}

// ApplicationSpec is the desired state.
type ApplicationSpec struct {
	Project              string      `json:"project"`
	Source               *Source     `json:"source,omitempty"`
	Destination          Destination `json:"destination"`
	SyncPolicy           *SyncPolicy `json:"syncPolicy,omitempty"`
	RevisionHistoryLimit *int64      `json:"revisionHistoryLimit,omitempty"`
	Info                 []Info      `json:"info,omitempty"`
}

// Info is a remark for people.
type Info struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Source is where manifests come from and how they are rendered.
type Source struct {
	RepoURL        string           `json:"repoURL"`
	Path           string           `json:"path,omitempty"`
	TargetRevision string           `json:"targetRevision,omitempty"`
	Directory      *DirectorySource `json:"directory,omitempty"`
	Kustomize      *KustomizeSource `json:"kustomize,omitempty"`
}

// DirectorySource is a directory of plain manifests.
type DirectorySource struct {
	Recurse bool   `json:"recurse,omitempty"`
	Include string `json:"include,omitempty"`
	Exclude string `json:"exclude,omitempty"`
}

// KustomizeSource holds edits that are made to the kustomization before it is
// built, as "kustomize edit" would make them.
type KustomizeSource struct {
	NamePrefix        string            `json:"namePrefix,omitempty"`
	NameSuffix        string            `json:"nameSuffix,omitempty"`
	Namespace         string            `json:"namespace,omitempty"`
	Images            []string          `json:"images,omitempty"`
	Replicas          []Replica         `json:"replicas,omitempty"`
	CommonLabels      map[string]string `json:"commonLabels,omitempty"`
	CommonAnnotations map[string]string `json:"commonAnnotations,omitempty"`
}

// Replica sets the replicas of the workload called Name.
type Replica struct {
	Name  string             `json:"name"`
	Count intstr.IntOrString `json:"count"`
}

// Destination is a cluster and a namespace.
type Destination struct {
	Server    string `json:"server,omitempty"`
	Name      string `json:"name,omitempty"`
	Namespace string `json:"namespace,omitempty"`
}

// Cluster is what people call the cluster that d names: this one has a name of
// its own, whichever way it is named.
func (d Destination) Cluster() string {
	if d.Server == InClusterServer {
		return InClusterName
	}
	return d.Server + d.Name // one of them is set
}

// InClusterServer and InClusterName are the two names of the cluster that the
// controller itself runs against.
const (
	InClusterServer = "https://kubernetes.default.svc"
	InClusterName   = "in-cluster"
)

// SyncPolicy says when and how to sync.
type SyncPolicy struct {
	Automated   *Automated     `json:"automated,omitempty"`
	SyncOptions []string       `json:"syncOptions,omitempty"`
	Retry       *RetryStrategy `json:"retry,omitempty"`
}

// Automated turns on syncing without being asked.
type Automated struct {
	Enabled    *bool `json:"enabled,omitempty"`
	Prune      bool  `json:"prune,omitempty"`
	SelfHeal   bool  `json:"selfHeal,omitempty"`
	AllowEmpty bool  `json:"allowEmpty,omitempty"`
}

// On says whether the policy syncs by itself.
func (p *SyncPolicy) On() bool {
	return p != nil && p.Automated != nil && (p.Automated.Enabled == nil || *p.Automated.Enabled)
}

// RetryStrategy says how often and how soon a failed sync is tried again.
type RetryStrategy struct {
	Limit   int64    `json:"limit,omitempty"`
	Backoff *Backoff `json:"backoff,omitempty"`
	Refresh bool     `json:"refresh,omitempty"`
}

// Backoff is the wait between retries: Duration, times Factor after each, up
// to MaxDuration.
type Backoff struct {
	Duration    string `json:"duration,omitempty"`
	Factor      *int64 `json:"factor,omitempty"`
	MaxDuration string `json:"maxDuration,omitempty"`
}
