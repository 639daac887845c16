package access

import (
	"bytes"
	_ "embed" // roles.yaml
	"errors"
	"fmt"
	"io"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/penstock-dev/penstock/internal/host/identity"
)

//go:embed roles.yaml
var rolesFile []byte

// Roles returns the ClusterRoles of the roles.
func Roles() ([]rbacv1.ClusterRole, error) {
	d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(rolesFile), 4096)
	var all []rbacv1.ClusterRole
	for {
		var r rbacv1.ClusterRole
		err := d.Decode(&r)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read roles: %w", err)
		}
		if r.Name != "" {
			all = append(all, r)
		}
	}
}

// binding gives the role to whoever is in its group: users who have it in all
// projects.
func binding(role string) rbacv1.ClusterRoleBinding {
	return rbacv1.ClusterRoleBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRoleBinding"},
		ObjectMeta: metav1.ObjectMeta{Name: role},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: role}},
	}
}

// clusterRole is the name of a role's ClusterRole, and of the group of those
// who have it everywhere.
func clusterRole(role string) string { return identity.GroupPrefix + role }
