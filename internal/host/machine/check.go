package machine

import (
	"context"
	"os"
	"path/filepath"

	"github.com/penstock-dev/penstock/internal/host/doctor"
	"github.com/penstock-dev/penstock/internal/host/exec/sandbox"
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
	return append(doctor.Check(ctx, doctor.Host(), o), m.checkSandboxes()...)
}

// checkSandboxes looks for what CI jobs need beyond the programs that doctor
// knows. Without it everything else works, so it is a warning.
func (m *Machine) checkSandboxes() []doctor.Finding {
	if os.Geteuid() != 0 {
		return nil // the finding about root says it
	}
	f := doctor.Finding{Check: "sandboxes", State: doctor.OK, Detail: "CI jobs can be isolated"}
	for _, s := range sandbox.Check(filepath.Join(m.dataDir, "ci", "sandboxes")) {
		if !s.OK {
			f = doctor.Finding{Check: f.Check, State: doctor.Warn, Detail: "CI jobs cannot run: " + s.Name + ": " + s.Err.Error(), Fix: s.Hint}
			break
		}
	}
	return []doctor.Finding{f}
}
