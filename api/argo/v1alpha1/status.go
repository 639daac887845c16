package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Values of a sync status.
const (
	SyncStatusSynced    = "Synced"
	SyncStatusOutOfSync = "OutOfSync"
	SyncStatusUnknown   = "Unknown"
)

// Values of a health status, from good to bad.
const (
	HealthHealthy     = "Healthy"
	HealthSuspended   = "Suspended"
	HealthProgressing = "Progressing"
	HealthMissing     = "Missing"
	HealthDegraded    = "Degraded"
	HealthUnknown     = "Unknown"
)

// Types of conditions. Those that end in Error keep an Application from being
// compared or synced.
const (
	ConditionInvalidSpecError        = "InvalidSpecError"
	ConditionComparisonError         = "ComparisonError"
	ConditionSyncError               = "SyncError"
	ConditionDeletionError           = "DeletionError"
	ConditionSharedResourceWarning   = "SharedResourceWarning"
	ConditionRepeatedResourceWarning = "RepeatedResourceWarning"
)

// ApplicationStatus is what the controller found and did.
type ApplicationStatus struct {
	Resources           []ResourceStatus  `json:"resources,omitempty"`
	Sync                SyncStatus        `json:"sync,omitempty"`
	Health              HealthStatus      `json:"health,omitempty"`
	History             []RevisionHistory `json:"history,omitempty"`
	Conditions          []Condition       `json:"conditions,omitempty"`
	ReconciledAt        *metav1.Time      `json:"reconciledAt,omitempty"`
	OperationState      *OperationState   `json:"operationState,omitempty"`
	SourceType          string            `json:"sourceType,omitempty"`
	Summary             Summary           `json:"summary,omitempty"`
	ControllerNamespace string            `json:"controllerNamespace,omitempty"`
}

// SyncStatus compares the cluster with the repository.
type SyncStatus struct {
	Status     string     `json:"status"`
	ComparedTo ComparedTo `json:"comparedTo,omitempty"`
	Revision   string     `json:"revision,omitempty"`
}

// ComparedTo is what a SyncStatus was made from.
type ComparedTo struct {
	Source      Source      `json:"source"`
	Destination Destination `json:"destination"`
}

// HealthStatus is the worst health of the managed objects.
type HealthStatus struct {
	Status             string       `json:"status,omitempty"`
	Message            string       `json:"message,omitempty"`
	LastTransitionTime *metav1.Time `json:"lastTransitionTime,omitempty"`
}

// ResourceStatus is the state of one managed object.
type ResourceStatus struct {
	Group           string        `json:"group,omitempty"`
	Version         string        `json:"version,omitempty"`
	Kind            string        `json:"kind,omitempty"`
	Namespace       string        `json:"namespace,omitempty"`
	Name            string        `json:"name,omitempty"`
	Status          string        `json:"status,omitempty"`
	Health          *HealthStatus `json:"health,omitempty"`
	RequiresPruning bool          `json:"requiresPruning,omitempty"`
	SyncWave        int64         `json:"syncWave,omitempty"`
	// Why says in words what differs. It is Penstock's own addition.
	Why string `json:"why,omitempty"`
}

// Condition is something that people should know.
type Condition struct {
	Type               string       `json:"type"`
	Message            string       `json:"message"`
	LastTransitionTime *metav1.Time `json:"lastTransitionTime,omitempty"`
}

// Summary is what the managed objects say in sum.
type Summary struct {
	ExternalURLs []string `json:"externalURLs,omitempty"`
	Images       []string `json:"images,omitempty"`
}

// RevisionHistory is one successful sync.
type RevisionHistory struct {
	ID              int64        `json:"id"`
	Revision        string       `json:"revision,omitempty"`
	Source          Source       `json:"source,omitempty"`
	DeployStartedAt *metav1.Time `json:"deployStartedAt,omitempty"`
	DeployedAt      metav1.Time  `json:"deployedAt"`
	InitiatedBy     InitiatedBy  `json:"initiatedBy,omitempty"`
}
