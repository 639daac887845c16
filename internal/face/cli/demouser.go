package cli

import (
	"context"
	"errors"
	"net/http"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/face/api"
	"github.com/penstock-dev/penstock/internal/face/client"
	"github.com/penstock-dev/penstock/internal/host/access"
	"github.com/penstock-dev/penstock/internal/host/identity"
)

// demoUser is who the demo is: a developer of the project that its
// repositories are in, and of the namespace of Applications.
const demoUser = "demo"

var demoProjects = []string{"demo", "argocd"}

// developer is somebody who works with Penstock, as the API and the cluster
// know them.
type developer struct {
	api  *client.Client
	kube dynamic.Interface
	id   string // of the token
}

// newDeveloper makes the demo's user, who is nobody special, with a token for
// as long as the demo may take. admin is this machine's administrator.
func newDeveloper(ctx context.Context, admin *client.Client, kubeconfig string, life time.Duration) (d developer, err error) {
	err = admin.Do(ctx, http.MethodPost, "/api/v1/users", api.NewUser{Name: demoUser}, nil)
	if err != nil && !errors.Is(err, problem.ErrExists) {
		return d, &problem.Error{Op: "create user", Subject: demoUser, Err: err}
	}
	for _, project := range demoProjects {
		grant := api.NewGrant{Role: identity.RoleDeveloper, Project: project}
		if err := admin.Do(ctx, http.MethodPost, "/api/v1/users/"+demoUser+"/roles", grant, &access.Grant{}); err != nil {
			return d, &problem.Error{Op: "make " + demoUser + " a developer of", Subject: project, Err: err}
		}
	}
	var t api.CreatedToken
	token := api.NewToken{Name: "penstock demo", User: demoUser, ExpiresIn: (life + time.Minute).String()}
	if err := admin.Do(ctx, http.MethodPost, "/api/v1/tokens", token, &t); err != nil {
		return d, &problem.Error{Op: "create a token for", Subject: demoUser, Err: err}
	}
	d.api, d.id = admin.As(t.Secret), t.ID
	var me api.Me
	if err := d.api.Do(ctx, http.MethodGet, "/api/v1/me", nil, &me); err != nil {
		return d, &problem.Error{Op: "log in as", Subject: demoUser, Err: err}
	}
	d.kube, err = demoKube(kubeconfig, rest.ImpersonationConfig{UserName: me.Name, Groups: me.Groups})
	return d, err
}

// end revokes the token. It has a deadline of its own: the demo's may be over.
func (d developer) end(admin *client.Client) error {
	if d.id == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := admin.Do(ctx, http.MethodDelete, "/api/v1/tokens/"+d.id, nil, nil)
	if errors.Is(err, problem.ErrNotFound) { // it went with its user
		return nil
	}
	return err
}

// demoKube is a client that acts as somebody; as the administrator when
// nobody is named.
func demoKube(kubeconfig string, as rest.ImpersonationConfig) (dynamic.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, &problem.Error{Op: "read kubeconfig", Subject: kubeconfig, Err: err}
	}
	config.QPS, config.Burst = 50, 100 // we look at objects ten times a second
	config.Impersonate = as
	return dynamic.NewForConfig(config)
}
