package cli

import (
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-dev/penstock/internal/host/gateway"
	"github.com/penstock-dev/penstock/internal/host/identity"
)

func newGateway(g *Globals) *cobra.Command {
	var o gateway.Options
	c := &cobra.Command{
		Use:   "gateway",
		Short: "Route http://<app>.localhost:7070 to the Pods of the cluster",
		Long: `Route http://<app>.localhost:7070 to the Pods of the cluster, until interrupted.

"penstock up" starts this as a process of its own, which keeps serving while
the server or the API server is away. It logs JSON to standard error.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			level := slog.LevelInfo
			if g.Verbose > 0 {
				level = slog.LevelDebug
			}
			o.Log = slog.New(slog.NewJSONHandler(g.Err, &slog.HandlerOptions{Level: level}))
			o.Dir = filepath.Join(g.DataDir, "gateway")
			if o.Kubeconfig == "" {
				o.Kubeconfig = filepath.Join(g.DataDir, "node", "admin.kubeconfig")
			}
			o.Proxy.OwnHost, o.Proxy.OwnCookie = "penstock."+o.Domain, identity.Cookie
			o.Ready = func(a net.Addr) { o.Log.Info("gateway accepts requests", "listen", a.String()) }
			return gateway.Run(c.Context(), o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.Listen, "listen", "127.0.0.1:7070", "`address` to answer on")
	f.StringVar(&o.PodListen, "pod-listen", "", "further `address` to answer on, where Pods of the embedded cluster find it; it need not exist yet")
	f.StringVar(&o.Kubeconfig, "kubeconfig", "", "`file` that says where the cluster is; may appear later (default: that of the embedded node)")
	f.StringVar(&o.Domain, "domain", "localhost", "`name` below which Services answer: <service>.<domain>")
	f.DurationVar(&o.Drain, "drain", 20*time.Second, "how long requests under way may go on when interrupted")
	f.BoolVar(&o.TakeOver, "take-over", false, "take the port from the gateway that runs with the same data directory, without losing a request; it then ends")
	f.DurationVar(&o.HandOverDrain, "hand-over-drain", 5*time.Minute, "how long connections may go on after another gateway took over")
	f.DurationVar(&o.Proxy.Hold, "hold", 2*time.Second, "how long a request waits for a Service without ready Pods; negative: not at all")
	f.IntVar(&o.MaxConnections, "max-connections", 10000, "`number` of connections served at once; more wait")
	return c
}
