// Package kubeconfig writes the kubeconfig files of the cluster's own parts
// and of its administrator.
package kubeconfig

import (
	"fmt"
	"os"

	"k8s.io/client-go/tools/clientcmd"
	api "k8s.io/client-go/tools/clientcmd/api"

	"github.com/penstock-dev/penstock/node/internal/layout"
)

// Client is who a kubeconfig is for.
type Client struct {
	Server   string // URL of the apiserver
	CAFile   string
	CertFile string
	KeyFile  string
	User     string
}

// Write writes the kubeconfig of c to path. The authority is inside, the
// client's pair is named by its files: clients read those again when they are
// renewed, so that a process that runs for months keeps its access.
func Write(path string, c Client) error {
	ca, err := os.ReadFile(c.CAFile)
	if err != nil {
		return fmt.Errorf("read the authority: %w", err)
	}
	cfg := api.NewConfig()
	cfg.Clusters["penstock"] = &api.Cluster{Server: c.Server, CertificateAuthorityData: ca}
	cfg.AuthInfos[c.User] = &api.AuthInfo{ClientCertificate: c.CertFile, ClientKey: c.KeyFile}
	cfg.Contexts["penstock"] = &api.Context{Cluster: "penstock", AuthInfo: c.User}
	cfg.CurrentContext = "penstock"
	b, err := clientcmd.Write(*cfg)
	if err != nil {
		return fmt.Errorf("encode the kubeconfig of %s: %w", c.User, err)
	}
	if old, err := os.ReadFile(path); err == nil && string(old) == string(b) {
		return nil
	}
	if err := layout.WriteFile(path, b, 0o600); err != nil {
		return fmt.Errorf("write the kubeconfig of %s: %w", c.User, err)
	}
	return nil
}
