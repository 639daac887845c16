package machine

import (
	"context"

	"github.com/penstock-dev/penstock/internal/host/doctor"
	"github.com/penstock-dev/penstock/internal/host/process"
)

// Check looks whether this machine can run Penstock with settings s. An
// address that our own running process listens on counts as free.
func (m *Machine) Check(ctx context.Context, s Settings) []doctor.Finding {
	o := doctor.Options{DataDir: m.dataDir}
	for _, l := range []struct{ name, addr string }{{Server, s.Listen}, {Gateway, s.GatewayListen}} {
		if _, running := process.Find(m.RunDir(), l.name); !running {
			o.Listen = append(o.Listen, l.addr)
		}
	}
	return doctor.Check(ctx, doctor.Host(), o)
}
