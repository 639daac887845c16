package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Phases of an operation.
const (
	PhaseRunning     = "Running"
	PhaseTerminating = "Terminating"
	PhaseFailed      = "Failed"
	PhaseError       = "Error"
	PhaseSucceeded   = "Succeeded"
)

// Results of one object of a sync.
const (
	ResultSynced       = "Synced"
	ResultSyncFailed   = "SyncFailed"
	ResultPruned       = "Pruned"
	ResultPruneSkipped = "PruneSkipped"
)

// Operation asks for something to be done now. Setting it on an Application
// that has none starts it; the controller removes it when it has ended.
type Operation struct {
	Sync        *SyncOperation `json:"sync,omitempty"`
	InitiatedBy InitiatedBy    `json:"initiatedBy,omitempty"`
	Info        []Info         `json:"info,omitempty"`
	Retry       RetryStrategy  `json:"retry,omitempty"`
}

// SyncOperation makes the cluster equal to the repository.
type SyncOperation struct {
	Revision              string         `json:"revision,omitempty"`
	Prune                 bool           `json:"prune,omitempty"`
	DryRun                bool           `json:"dryRun,omitempty"`
	Resources             []SyncResource `json:"resources,omitempty"`
	Source                *Source        `json:"source,omitempty"`
	SyncOptions           []string       `json:"syncOptions,omitempty"`
	SyncStrategy          *SyncStrategy  `json:"syncStrategy,omitempty"`
	AutoHealAttemptsCount int64          `json:"autoHealAttemptsCount,omitempty"`
}

// SyncStrategy is how objects are written. Hooks are not served yet, so both
// do the same: server-side apply.
type SyncStrategy struct {
	Apply *SyncStrategyApply `json:"apply,omitempty"`
	Hook  *SyncStrategyHook  `json:"hook,omitempty"`
}

// SyncStrategyApply applies without hooks.
type SyncStrategyApply struct{}

// SyncStrategyHook applies with hooks.
type SyncStrategyHook struct{}

// SyncResource names one object of a partial sync.
type SyncResource struct {
	Group     string `json:"group,omitempty"`
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	Namespace string `json:"namespace,omitempty"`
}

// InitiatedBy says who asked for an operation.
type InitiatedBy struct {
	Username  string `json:"username,omitempty"`
	Automated bool   `json:"automated,omitempty"`
}

// OperationState is the progress of the running operation, or the end of the
// last one.
type OperationState struct {
	Operation  Operation    `json:"operation"`
	Phase      string       `json:"phase"`
	Message    string       `json:"message,omitempty"`
	SyncResult *SyncResult  `json:"syncResult,omitempty"`
	StartedAt  metav1.Time  `json:"startedAt"`
	FinishedAt *metav1.Time `json:"finishedAt,omitempty"`
	RetryCount int64        `json:"retryCount,omitempty"`
}

// Completed says whether the phase is final.
func Completed(phase string) bool {
	return phase == PhaseSucceeded || phase == PhaseFailed || phase == PhaseError
}

// SyncResult is what a sync did.
type SyncResult struct {
	Revision  string           `json:"revision"`
	Source    Source           `json:"source,omitempty"`
	Resources []ResourceResult `json:"resources,omitempty"`
}

// ResourceResult is what a sync did to one object.
type ResourceResult struct {
	Group     string `json:"group"`
	Version   string `json:"version"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Status    string `json:"status,omitempty"`
	Message   string `json:"message,omitempty"`
	// HookPhase is the phase of the object after it was applied: Running
	// until it is healthy.
	HookPhase string `json:"hookPhase,omitempty"`
	SyncPhase string `json:"syncPhase,omitempty"`
}
