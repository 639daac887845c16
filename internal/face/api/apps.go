package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/host/identity"
)

// Application is an Argo CD Application as much of it as lists and pages show.
type Application struct {
	Namespace       string        `json:"namespace"`
	Name            string        `json:"name"`
	Project         string        `json:"project"`
	Repo            string        `json:"repo" doc:"URL of the repository with the manifests"`
	Path            string        `json:"path,omitempty"`
	Target          string        `json:"target,omitempty" doc:"branch, tag or commit that is followed"`
	Destination     string        `json:"destination" doc:"cluster and namespace"`
	Automated       bool          `json:"automated" doc:"synced without being asked"`
	Sync            string        `json:"sync" doc:"Synced, OutOfSync, Unknown"`
	Revision        string        `json:"revision,omitempty" doc:"commit that it was compared with"`
	Health          string        `json:"health" doc:"Healthy, Progressing, Degraded, Suspended, Missing, Unknown"`
	HealthMessage   string        `json:"healthMessage,omitempty"`
	Images          []string      `json:"images,omitempty"`
	URLs            []string      `json:"urls,omitempty"`
	Operation       *AppOperation `json:"operation,omitempty" doc:"the last sync, or the one under way"`
	Conditions      []AppMessage  `json:"conditions,omitempty"`
	History         []AppHistory  `json:"history,omitempty" doc:"what was synced, oldest first; only when one is asked for"`
	Resources       []AppResource `json:"resources,omitempty" doc:"only when one is asked for"`
	ComparedAt      time.Time     `json:"comparedAt,omitzero"`
	CreatedAt       time.Time     `json:"createdAt"`
	ResourceVersion string        `json:"resourceVersion"`
}

// AppOperation is a sync.
type AppOperation struct {
	Phase      string    `json:"phase" doc:"Running, Succeeded, Failed, Error, Terminating"`
	Message    string    `json:"message,omitempty"`
	Revision   string    `json:"revision,omitempty"`
	By         string    `json:"by,omitempty"`
	StartedAt  time.Time `json:"startedAt"`
	FinishedAt time.Time `json:"finishedAt,omitzero"`
}

// AppMessage is a condition.
type AppMessage struct {
	Type    string `json:"type"`
	Message string `json:"message"`
}

// AppHistory is a sync that succeeded.
type AppHistory struct {
	ID         int64     `json:"id"`
	Revision   string    `json:"revision"`
	DeployedAt time.Time `json:"deployedAt"`
}

// AppResource is an object that an Application consists of.
type AppResource struct {
	Group     string `json:"group,omitempty"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Sync      string `json:"sync,omitempty"`
	Health    string `json:"health,omitempty"`
	Message   string `json:"message,omitempty"`
	Prune     bool   `json:"prune,omitempty" doc:"not in the repository any more"`
}

// NewSync asks for a sync.
type NewSync struct {
	Revision string `json:"revision,omitempty" maxLength:"300" doc:"commit, branch or tag instead of the one that is followed"`
	Prune    bool   `json:"prune,omitempty" doc:"delete what is not in the repository"`
	DryRun   bool   `json:"dryRun,omitempty" doc:"ask the API server what it would say"`
}

// Asked names a sync that was asked for.
type Asked struct {
	Request string `json:"request" doc:"its id, in operation.info of the Application"`
}

// Applications reads and syncs Applications as a user: the cluster decides.
type Applications interface {
	List(ctx context.Context, by identity.Principal, namespace string) ([]Application, error)
	Get(ctx context.Context, by identity.Principal, namespace, name string) (Application, error)
	Sync(ctx context.Context, by identity.Principal, namespace, name string, s NewSync) (Asked, error)
	Refresh(ctx context.Context, by identity.Principal, namespace, name string, hard bool) error
}

const appsGroup = v1alpha1.Group

// appAction is an action on the Application "namespace/name".
func appAction(verb, key string) identity.Action {
	namespace, name, _ := strings.Cut(key, "/")
	return identity.Action{Group: appsGroup, Verb: verb, Resource: "applications", Project: namespace, Name: name}
}

// AppPath names an Application.
type AppPath struct {
	Namespace string `path:"namespace" maxLength:"63"`
	Name      string `path:"name" maxLength:"253"`
}

type appQuery struct {
	Paging
	Namespace string `query:"namespace" maxLength:"63" default:"argocd" doc:"of the Applications"`
	Project   string `query:"project" maxLength:"253" doc:"AppProject"`
	Sync      string `query:"sync" enum:"Synced,OutOfSync,Unknown"`
	Health    string `query:"health" enum:"Healthy,Progressing,Degraded,Suspended,Missing,Unknown"`
	Sort      string `query:"sort" enum:"name,-name,health,-health" default:"name"`
}

// sickest sorts what needs somebody first.
var sickest = map[string]string{"Degraded": "0", "Missing": "1", "Unknown": "2", "Progressing": "3", "Suspended": "4", "Healthy": "5"}

func (q *appQuery) key(a Application) string {
	if strings.HasSuffix(q.Sort, "health") {
		return sickest[a.Health] + " " + a.Name
	}
	return a.Name
}

func (q *appQuery) wants(a Application) bool {
	return (q.Project == "" || a.Project == q.Project) && (q.Sync == "" || a.Sync == q.Sync) && (q.Health == "" || a.Health == q.Health)
}

type appSync struct {
	AppPath
	Body NewSync
}

// Applications registers /api/v1/applications.
func (a *API) Applications(s Applications) {
	const tag, resource = "applications", "applications"
	inPath := func(_ context.Context, in *AppPath) (target, error) {
		return target{project: in.Namespace, name: in.Name}, nil
	}
	handle(a, route("list-applications", http.MethodGet, "/api/v1/applications", tag, "List Argo CD Applications", http.StatusUnprocessableEntity),
		need{group: appsGroup, verb: "list", resource: resource},
		func(_ context.Context, in *appQuery) (target, error) { return target{project: in.Namespace}, nil },
		func(ctx context.Context, in *appQuery) (*body[Page[Application]], error) {
			p, _ := Caller(ctx)
			all, err := s.List(ctx, p, in.Namespace)
			if err != nil {
				return nil, err
			}
			var wanted []Application
			for _, app := range all {
				if in.wants(app) {
					wanted = append(wanted, app)
				}
			}
			page, err := pageOf(wanted, in.Paging, listID("applications", in.Namespace, in.Project, in.Sync, in.Health, in.Sort), in.Sort[0] == '-', in.key)
			return &body[Page[Application]]{page}, err
		})
	handle(a, route("get-application", http.MethodGet, "/api/v1/applications/{namespace}/{name}", tag, "Show an Application with its objects", http.StatusNotFound),
		need{group: appsGroup, verb: "get", resource: resource}, inPath,
		func(ctx context.Context, in *AppPath) (*body[Application], error) {
			p, _ := Caller(ctx)
			app, err := s.Get(ctx, p, in.Namespace, in.Name)
			return &body[Application]{app}, err
		})
	sync := route("sync-application", http.MethodPost, "/api/v1/applications/{namespace}/{name}/sync", tag, "Ask for a sync: make the cluster what the repository says", http.StatusNotFound, http.StatusConflict)
	sync.DefaultStatus = http.StatusAccepted
	handle(a, sync, need{group: appsGroup, verb: "patch", resource: resource},
		func(ctx context.Context, in *appSync) (target, error) { return inPath(ctx, &in.AppPath) },
		func(ctx context.Context, in *appSync) (*body[Asked], error) {
			p, _ := Caller(ctx)
			asked, err := s.Sync(ctx, p, in.Namespace, in.Name, in.Body)
			return &body[Asked]{asked}, err
		})
	refresh := route("refresh-application", http.MethodPost, "/api/v1/applications/{namespace}/{name}/refresh", tag, "Ask for a comparison with the repository now", http.StatusNotFound)
	refresh.DefaultStatus = http.StatusAccepted
	handle(a, refresh, need{group: appsGroup, verb: "patch", resource: resource},
		func(ctx context.Context, in *appRefresh) (target, error) { return inPath(ctx, &in.AppPath) },
		func(ctx context.Context, in *appRefresh) (*struct{}, error) {
			p, _ := Caller(ctx)
			return nil, s.Refresh(ctx, p, in.Namespace, in.Name, in.Hard)
		})
}

type appRefresh struct {
	AppPath
	Hard bool `query:"hard" doc:"trust nothing that is known"`
}
