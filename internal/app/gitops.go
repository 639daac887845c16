package app

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-dev/penstock/internal/base/bus"
	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/face/cli"
	"github.com/penstock-dev/penstock/internal/gitops/application"
	"github.com/penstock-dev/penstock/internal/gitops/render"
	"github.com/penstock-dev/penstock/internal/host/git"
	"github.com/penstock-dev/penstock/internal/host/machine"
	"github.com/penstock-dev/penstock/internal/host/observe"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// pushBuffer is how many pushes may wait for the application controller; it
// looks at every Application when some were dropped.
const pushBuffer = 256

// newApplications connects the application controller to the Git host and the
// cluster. unsubscribe ends its share of the pushes.
func newApplications(o serverOptions, db *store.DB, repos *git.Server, pushes *bus.Topic[event.Push], seen *observe.Observer, own *ownWork, log *slog.Logger) (c *application.Controller, unsubscribe func(), err error) {
	sub := pushes.Subscribe(pushBuffer)
	c, err = application.New(application.Options{
		Kubeconfig:  o.kubeconfigFile(),
		Dir:         filepath.Join(o.machine.DataDir(), "gitops"),
		Host:        repos,
		Pushes:      sub.C,
		Events:      recorder{db},
		IngressPort: gatewayPort(o),
		Log:         log.With("room", "gitops"),

		QueueMetrics: seen.NewQueues("gitops"),
		Synced:       own.synced(repos),
	})
	if err != nil {
		sub.Close()
		return nil, nil, err
	}
	return c, sub.Close, nil
}

// recorder puts events of Kubernetes objects into the log.
type recorder struct{ db *store.DB }

func (r recorder) Record(ctx context.Context, id, typ, subject string, at time.Time, data any) error {
	return r.db.Write(ctx, func(tx store.Tx) error {
		_, err := store.Append(ctx, tx, id, typ, subject, at, data)
		return err
	})
}

// newRenderWorker is what the application controller starts of this program.
func newRenderWorker(*cli.Globals) *cobra.Command { return render.WorkerCommand() }

// gatewayPort is where the links of Applications lead.
func gatewayPort(o serverOptions) int {
	_, port, err := net.SplitHostPort(gatewayListen(o))
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return 0
	}
	return n
}

// gatewayListen is where the gateway of this machine listens.
func gatewayListen(o serverOptions) string {
	s, err := o.machine.Settings()
	if err != nil {
		return machine.DefaultGatewayListen
	}
	return s.GatewayListen
}
