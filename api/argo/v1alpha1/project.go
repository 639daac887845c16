package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// DefaultProject is the project that allows everything.
const DefaultProject = "default"

// AppProject says what the Applications of a project may use.
type AppProject struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Spec   AppProjectSpec `json:"spec"`
	Status map[string]any `json:"status,omitempty"`
}

// AppProjectSpec is the served part of a project.
type AppProjectSpec struct {
	Description                string        `json:"description,omitempty"`
	SourceRepos                []string      `json:"sourceRepos,omitempty"`
	Destinations               []Destination `json:"destinations,omitempty"`
	ClusterResourceWhitelist   []GroupKind   `json:"clusterResourceWhitelist,omitempty"`
	ClusterResourceBlacklist   []GroupKind   `json:"clusterResourceBlacklist,omitempty"`
	NamespaceResourceWhitelist []GroupKind   `json:"namespaceResourceWhitelist,omitempty"`
	NamespaceResourceBlacklist []GroupKind   `json:"namespaceResourceBlacklist,omitempty"`
}

// GroupKind names kinds; both parts may be patterns.
type GroupKind struct {
	Group string `json:"group"`
	Kind  string `json:"kind"`
	Name  string `json:"name,omitempty"` // of cluster-scoped objects only
}
