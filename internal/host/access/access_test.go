package access_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/access"
	"github.com/penstock-dev/penstock/internal/host/access/accesstest"
	"github.com/penstock-dev/penstock/internal/host/cluster"
	"github.com/penstock-dev/penstock/internal/host/cluster/clustertest"
	"github.com/penstock-dev/penstock/internal/host/identity"
)

var (
	controlPlane = sync.OnceValues(clustertest.Start)
	started      bool
)

func TestMain(m *testing.M) {
	code := m.Run()
	if started {
		if p, err := controlPlane(); err == nil {
			_ = p.Stop()
		}
	}
	os.Exit(code)
}

// kubeconfig is that of a real control plane.
func kubeconfig(t *testing.T) string {
	t.Helper()
	p, err := controlPlane()
	if errors.Is(err, clustertest.ErrNoProgram) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	started = true
	return p.Kubeconfig
}

// reviewer is one that keeps the roles applied, and a clock that tests move.
func reviewer(t *testing.T, kubeconfig string) (*access.Reviewer, *clock) {
	t.Helper()
	c := &clock{at: time.Now()}
	r := access.New(access.Options{Kubeconfig: kubeconfig, Now: c.now})
	done := make(chan error, 1)
	ctx := t.Context()
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() { <-done })
	for deadline := time.Now().Add(time.Minute); r.Ready() != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(r.Ready())
		}
	}
	return r, c
}

type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// soon tries until it goes well: the API server hears of new roles and
// bindings a moment after they are written.
func soon(t *testing.T, try func() error) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

var admin = identity.Principal{Name: "admin", Admin: true}

// actions are what the roles differ in.
var actions = []identity.Action{
	{Verb: "list", Resource: "runs"},
	{Verb: "get", Resource: "runs/log"},
	{Verb: "update", Resource: "runs"},
	{Verb: "create", Resource: "repositories"},
	{Verb: "get", Resource: "repositories/content"},
	{Verb: "update", Resource: "repositories/content"},
	{Verb: "create", Resource: "promotions/approve"},
	{Verb: "list", Resource: "audit"},
	{Verb: "create", Resource: "users"},
	{Verb: "create", Resource: "users/login"},
	{Verb: "list", Resource: "tokens"},
	{Verb: "bind", Resource: "roles", Name: "admin"},
	{Verb: "get", Resource: "secrets"},
	{Group: "argoproj.io", Verb: "list", Resource: "applications"},
	{Group: "argoproj.io", Verb: "update", Resource: "applications"},
	{Group: "argoproj.io", Verb: "delete", Resource: "appprojects"},
	{Group: "rbac.authorization.k8s.io", Verb: "bind", Resource: "clusterroles", Name: "penstock:reader"},
	{Group: "rbac.authorization.k8s.io", Verb: "bind", Resource: "clusterroles", Name: "cluster-admin"},
	{Group: "apps", Verb: "list", Resource: "deployments"},
}

// TestClusterDecidesAsTheRolesSay asks a real API server and compares with
// accesstest, which stands in for it in other tests.
func TestClusterDecidesAsTheRolesSay(t *testing.T) {
	r, clock := reviewer(t, kubeconfig(t))
	soon(t, func() error {
		return r.Give(t.Context(), admin, access.Grant{User: "pat", Role: "developer", Project: "ours"})
	})
	model := &accesstest.RBAC{Grants: []access.Grant{{User: "pat", Role: "developer", Project: "ours"}}}
	people := []identity.Principal{{Name: "nobody"}, {Name: "pat"}}
	for _, role := range identity.Roles() {
		people = append(people, identity.Principal{Name: "some-" + role, Roles: []string{role}})
	}
	people = append(people, identity.Principal{Name: "both", Roles: []string{"approver", "developer"}})
	allowed := 0
	for _, p := range people {
		for _, a := range actions {
			for _, project := range []string{"", "ours", "theirs"} {
				if a.Project = project; a.Group == "" {
					a.Group = identity.Group
				}
				want, err := model.Review(t.Context(), p, a)
				if err != nil {
					t.Fatal(err)
				}
				soon(t, func() error {
					got, err := r.Review(t.Context(), p, a)
					if err != nil || got != want {
						clock.pass(11 * time.Second) // what was remembered does not count any more
						return fmt.Errorf("%s, %v: %s: the cluster says %v (%v), the model %v", p.Name, p.Roles, a, got, err, want)
					}
					return nil
				})
				if want {
					allowed++
				}
			}
		}
	}
	if total := len(people) * len(actions) * 3; allowed < total/10 || allowed > total*9/10 {
		t.Errorf("%d of %d are allowed: this test asks the wrong questions", allowed, total)
	}
}

// TestRolesInOneProject are given and taken by those who may, and count soon.
func TestRolesInOneProject(t *testing.T) {
	r, clock := reviewer(t, kubeconfig(t))
	ctx := t.Context()
	eve := identity.Principal{Name: "eve"}
	developer := identity.Principal{Name: "dev", Roles: []string{"developer"}}
	chief := identity.Principal{Name: "chief", Roles: []string{"admin"}}
	push := identity.Action{Group: identity.Group, Verb: "update", Resource: "repositories/content", Project: "team"}
	may := func(want bool) {
		t.Helper()
		soon(t, func() error {
			clock.pass(11 * time.Second) // what was remembered does not count any more
			if got, err := r.Review(ctx, eve, push); got != want || err != nil {
				return fmt.Errorf("allowed %v, %v; want %v", got, err, want)
			}
			return nil
		})
	}
	may(false)
	g := access.Grant{User: "eve", Role: "developer", Project: "team"}
	for _, by := range []identity.Principal{eve, developer} {
		if err := r.Give(ctx, by, g); !errors.Is(err, problem.ErrForbidden) {
			t.Errorf("%s gave eve a role: %v", by.Name, err)
		}
	}
	for range 2 { // again changes nothing
		soon(t, func() error { return r.Give(ctx, chief, g) })
	}
	may(true)
	push.Project = "other"
	may(false)
	push.Project = "team"
	all, err := r.Grants(ctx, chief, "eve")
	if err != nil || len(all) != 1 || all[0] != g {
		t.Errorf("roles of eve: %v, %v", all, err)
	}
	if err := r.Give(ctx, chief, access.Grant{User: "eve", Role: "cluster-admin", Project: "team"}); !errors.Is(err, problem.ErrInvalid) {
		t.Errorf("a role of others: %v", err)
	}
	if err := r.TakeAll(ctx, chief, "eve"); err != nil {
		t.Fatal(err)
	}
	may(false)
	if err := r.Take(ctx, chief, g); !errors.Is(err, problem.ErrNotFound) {
		t.Errorf("taken twice: %v", err)
	}
}

// TestUsersActAsThemselves: the cluster sees the user, not the server.
func TestUsersActAsThemselves(t *testing.T) {
	r, _ := reviewer(t, kubeconfig(t))
	config, err := r.As(identity.Principal{Name: "ann", Roles: []string{"reader"}})
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.CoreV1().Secrets("kube-system").List(t.Context(), metav1.ListOptions{})
	if err == nil || !strings.Contains(err.Error(), `User "ann"`) {
		t.Errorf("secrets of the system: %v", err)
	}
	for _, p := range []identity.Principal{{}, {Name: "run/1/a", Job: true}} {
		if _, err := r.As(p); err == nil {
			t.Errorf("%+v acts on the cluster", p)
		}
	}
}

// TestAnswersAreRememberedForSeconds and no longer, also when the cluster has
// gone: then there is no answer.
func TestAnswersAreRememberedForSeconds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubeconfig")
	b, err := os.ReadFile(kubeconfig(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	_, _ = reviewer(t, path) // the roles are there
	clock := &clock{at: time.Now()}
	r := access.New(access.Options{Kubeconfig: path, Now: clock.now})
	p := identity.Principal{Name: "rae", Roles: []string{"reader"}}
	ask := func(verb string) string {
		ok, err := r.Review(t.Context(), p, identity.Action{Group: identity.Group, Verb: verb, Resource: "runs"})
		if err != nil {
			return "no answer"
		}
		return fmt.Sprint(ok)
	}
	soon(t, func() error {
		clock.pass(11 * time.Second)
		if a, b := ask("get"), ask("update"); a != "true" || b != "false" {
			return fmt.Errorf("a reader gets runs: %s, updates them: %s", a, b)
		}
		return nil
	})
	// A reviewer without a cluster behind it answers from memory only.
	dead := access.New(access.Options{Kubeconfig: filepath.Join(t.TempDir(), "none"), Now: clock.now})
	if _, err := dead.Review(t.Context(), p, identity.Action{Group: identity.Group, Verb: "get", Resource: "runs"}); err == nil {
		t.Error("an answer without a cluster")
	}
	config, err := cluster.Config(path)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	name := identity.GroupPrefix + "reader"
	if err := client.RbacV1().ClusterRoleBindings().Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if a := ask("get"); a != "true" {
		t.Errorf("at once: %s, want what is remembered", a)
	}
	clock.pass(10 * time.Second)
	for deadline := time.Now().Add(time.Minute); ask("get") != "false"; time.Sleep(50 * time.Millisecond) {
		// The API server's own view of RBAC follows within moments.
		clock.pass(10 * time.Second)
		if time.Now().After(deadline) {
			t.Fatal("a role that was taken still counts after 10 seconds")
		}
	}
}
