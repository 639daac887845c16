package cli

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/penstock-dev/penstock/internal/host/cluster"
)

func newKubeconfig(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the administrator's kubeconfig of the embedded cluster",
		Long: `Print the administrator's kubeconfig of the embedded cluster.

It holds a key that may do everything in the cluster: keep it to yourself. The
key ends within 30 days; the file under the data directory is renewed, a copy
is not.`,
		Example: "  penstock kubeconfig > ~/.kube/penstock\n  kubectl --kubeconfig ~/.kube/penstock get pods -A",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			path := filepath.Join(g.DataDir, "node", "admin.kubeconfig")
			if _, err := cluster.Config(path); err != nil {
				return err
			}
			config, err := clientcmd.LoadFromFile(path)
			if err != nil {
				return fmt.Errorf("read kubeconfig %s: %w", path, err)
			}
			// What is printed must not refer to other files.
			if err := clientcmdapi.FlattenConfig(config); err != nil {
				return fmt.Errorf("read kubeconfig %s: %w", path, err)
			}
			b, err := clientcmd.Write(*config)
			if err != nil {
				return err
			}
			_, err = g.Out.Write(b)
			return err
		},
	}
}
