package application

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/host/cluster"
)

// installTime bounds what is done to the cluster at the start.
const installTime = time.Minute

// managedByLabel marks definitions that we installed: those of an Argo CD that
// runs on the cluster are left alone.
const managedByLabel = "app.kubernetes.io/managed-by"

// LabelManaged opts an Application in on a cluster whose Argo kinds are not
// ours: an Argo CD that runs there has the others.
const LabelManaged = "penstock.dev/managed"

// install makes sure that the cluster has the namespace, the kinds and the
// default project. foreign says that the kinds were there before, so that only
// Applications with [LabelManaged] are ours.
func (c *Controller) install(ctx context.Context) (foreign bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, installTime)
	defer cancel()
	ns := object("v1", "Namespace", "", c.o.Namespace)
	if _, err := c.cluster.Apply(ctx, ns, cluster.ApplyOptions{}); err != nil {
		return false, fmt.Errorf("apply namespace %s: %w", c.o.Namespace, err)
	}
	crds, err := v1alpha1.CRDs()
	if err != nil {
		return false, err
	}
	for _, crd := range crds {
		theirs, err := c.installDefinition(ctx, crd)
		if err != nil {
			return false, err
		}
		foreign = foreign || theirs
	}
	if foreign {
		return true, nil
	}
	return false, c.installDefaultProject(ctx)
}

// installDefinition applies a definition unless somebody else's is there.
func (c *Controller) installDefinition(ctx context.Context, crd *unstructured.Unstructured) (theirs bool, err error) {
	client, err := c.cluster.Client(crd)
	if err != nil {
		return false, err
	}
	live, err := client.Get(ctx, crd.GetName(), metav1.GetOptions{})
	if err == nil && live.GetLabels()[managedByLabel] != "penstock" {
		c.log.Info("a definition of somebody else is there: only Applications with a label are reconciled", "definition", crd.GetName(), "label", LabelManaged+"=true")
		return true, c.cluster.WaitEstablished(ctx, live)
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return false, err
	}
	labels := crd.GetLabels()
	labels[managedByLabel] = "penstock"
	crd.SetLabels(labels)
	return false, c.cluster.ApplyDefinitions(ctx, crd)
}

// installDefaultProject creates the project that allows everything, as Argo CD
// does. Later changes to it are the user's.
func (c *Controller) installDefaultProject(ctx context.Context) error {
	p := object(v1alpha1.Group+"/"+v1alpha1.Version, "AppProject", c.o.Namespace, v1alpha1.DefaultProject)
	p.Object["spec"] = map[string]any{
		"sourceRepos":              []any{"*"},
		"destinations":             []any{map[string]any{"server": "*", "namespace": "*"}},
		"clusterResourceWhitelist": []any{map[string]any{"group": "*", "kind": "*"}},
	}
	client := c.cluster.Dynamic.Resource(v1alpha1.AppProjects).Namespace(c.o.Namespace)
	_, err := client.Create(ctx, p, metav1.CreateOptions{FieldManager: cluster.FieldManager})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create the default project: %w", err)
	}
	return nil
}

func object(apiVersion, kind, namespace, name string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": kind}}
	u.SetName(name)
	if namespace != "" {
		u.SetNamespace(namespace)
	}
	return u
}
