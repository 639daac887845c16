// Package machine is the Penstock of one machine: which processes it consists
// of, in which order they come and go, and when each is ready.
//
// Three processes run detached and outlive each other and their supervisor:
// the node (embedded Kubernetes), the gateway and the server. [Machine.Up]
// supervises them, [Machine.Down] ends them, [Machine.Status] looks.
package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/penstock-dev/penstock/internal/base/atomicfile"
	"github.com/penstock-dev/penstock/internal/base/problem"
)

// Names of the processes, under which their records and logs are kept.
const (
	Node    = "node"
	Gateway = "gateway"
	Server  = "server"
	up      = "up"
)

// Settings are what a start chooses; later commands read them back.
type Settings struct {
	Listen        string `json:"listen"`        // of the server, "127.0.0.1:7080"
	GatewayListen string `json:"gatewayListen"` // "127.0.0.1:7070"
}

// Default addresses.
const (
	DefaultListen        = "127.0.0.1:7080"
	DefaultGatewayListen = "127.0.0.1:7070"
)

// Machine is the Penstock under one data directory.
type Machine struct {
	dataDir string
}

// At returns the machine whose data is under dataDir, an absolute path.
func At(dataDir string) (*Machine, error) {
	abs, err := filepath.Abs(dataDir)
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %w", dataDir, err)
	}
	// Socket paths below it have a hard limit of 107 bytes in the kernel.
	if len(abs) > maxDataDir {
		return nil, &problem.Error{Op: "use data directory", Subject: abs, Code: problem.ExitUsage,
			Err:  fmt.Errorf("its path is longer than %d bytes, sockets below it would exceed the kernel's limit", maxDataDir),
			Hint: "choose a shorter one with --data-dir"}
	}
	return &Machine{dataDir: abs}, nil
}

const maxDataDir = 64

// DataDir is the absolute data directory.
func (m *Machine) DataDir() string { return m.dataDir }

// RunDir holds records, logs and locks of the processes.
func (m *Machine) RunDir() string { return filepath.Join(m.dataDir, "run") }

// NodeDir is the directory that penstock-node owns.
func (m *Machine) NodeDir() string { return filepath.Join(m.dataDir, "node") }

// Kubeconfig is the administrator's kubeconfig of the embedded cluster.
func (m *Machine) Kubeconfig() string { return filepath.Join(m.NodeDir(), "admin.kubeconfig") }

// NodeSocket is the control socket of the node.
func (m *Machine) NodeSocket() string { return filepath.Join(m.NodeDir(), "run", "control.sock") }

// BuildSocket is where BuildKit listens.
func (m *Machine) BuildSocket() string { return filepath.Join(m.NodeDir(), "run", "buildkitd.sock") }

// GatewaySocket is the gateway's admin socket.
func (m *Machine) GatewaySocket() string { return filepath.Join(m.dataDir, "gateway", "admin.sock") }

// ServerSocket is where the server answers this machine's administrator.
func (m *Machine) ServerSocket() string { return filepath.Join(m.RunDir(), "server.sock") }

func (m *Machine) settingsPath() string { return filepath.Join(m.dataDir, "settings.json") }

// Settings returns those of the last start, or the defaults before the first.
func (m *Machine) Settings() (Settings, error) {
	s := Settings{DefaultListen, DefaultGatewayListen}
	b, err := os.ReadFile(m.settingsPath())
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return s, fmt.Errorf("read settings: %w", err)
	}
	return s, nil
}

// prepare makes the directories and stores the settings.
func (m *Machine) prepare(s Settings) error {
	for _, dir := range []string{m.dataDir, m.RunDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make data directory: %w", err)
		}
	}
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(m.settingsPath(), append(b, '\n'), 0o600)
}

// nodeProgram finds penstock-node: named by the environment, beside our own
// program, or on the PATH.
func nodeProgram() (string, error) {
	const name = "penstock-node"
	if p := os.Getenv("PENSTOCK_NODE"); p != "" {
		return filepath.Abs(p)
	}
	if self, err := os.Executable(); err == nil {
		if self, err = filepath.EvalSymlinks(self); err == nil {
			if p := filepath.Join(filepath.Dir(self), name); isFile(p) {
				return p, nil
			}
		}
	}
	p, err := exec.LookPath(name)
	if err != nil {
		return "", &problem.Error{Op: "find the program", Subject: name, Err: errors.New("neither beside penstock nor on the PATH"), Hint: "build it with make build, or name it in PENSTOCK_NODE"}
	}
	return filepath.Abs(p)
}

func isFile(p string) bool {
	fi, err := os.Stat(p)
	return err == nil && fi.Mode().IsRegular()
}
