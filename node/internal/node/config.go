// Package node puts the parts of penstock-node together: what runs, with which
// addresses, in which order.
package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"regexp"
	"time"

	"github.com/penstock-dev/penstock/node/internal/fault"
	"github.com/penstock-dev/penstock/node/internal/layout"
	"github.com/penstock-dev/penstock/node/internal/logs"
	"github.com/penstock-dev/penstock/node/internal/network"
)

// Config is what a person chooses.
type Config struct {
	DataDir       string `json:"-"`
	Name          string `json:"name"` // of the node
	Bridge        string `json:"bridge"`
	PodCIDR       string `json:"podCIDR"`
	ServiceCIDR   string `json:"serviceCIDR"`
	Domain        string `json:"domain"`
	APIServerPort int    `json:"apiserverPort"`
	MaxPods       int    `json:"maxPods"`
	// APIOnly runs a control plane on loopback, without containerd, kubelet,
	// network, DNS, volumes and builder.
	APIOnly bool `json:"apiOnly"`
	// NoBuilder leaves BuildKit out.
	NoBuilder bool `json:"noBuilder"`
	// BuilderBridge and BuilderCIDR are the network of image builds.
	BuilderBridge string `json:"builderBridge"`
	BuilderCIDR   string `json:"builderCIDR"`

	Started time.Time    `json:"-"` // of the process
	Log     *slog.Logger `json:"-"`
	OnReady func()       `json:"-"` // if set, called when the node is ready
	// Capture holds what Kubernetes logs.
	Capture *logs.Capture `json:"-"`
}

// Defaults returns the configuration without flags.
func Defaults() Config {
	return Config{
		DataDir: "/var/lib/penstock/node", Name: "penstock", Bridge: "penstock0",
		PodCIDR: "10.214.0.0/16", ServiceCIDR: "10.215.0.0/16", Domain: "cluster.local",
		BuilderBridge: "penstockbuild0", BuilderCIDR: "10.217.0.0/16",
		APIServerPort: 6443, MaxPods: 250,
	}
}

var dnsName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
var domainName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)

// check refuses a configuration that cannot work and returns its addresses.
func (c Config) check() (network.Plan, error) {
	plan, err := network.NewPlan(c.Bridge, c.PodCIDR, c.ServiceCIDR)
	if err != nil {
		return plan, err
	}
	switch {
	case !dnsName.MatchString(c.Name):
		err = fmt.Errorf("%w: --node-name %q is not a DNS label", fault.ErrUsage, c.Name)
	case !domainName.MatchString(c.Domain):
		err = fmt.Errorf("%w: --cluster-domain %q is not a DNS name", fault.ErrUsage, c.Domain)
	case c.APIServerPort < 0 || c.APIServerPort > 65535:
		err = fmt.Errorf("%w: --apiserver-port %d is not a port", fault.ErrUsage, c.APIServerPort)
	case c.APIServerPort == 0 && !c.APIOnly:
		err = fmt.Errorf("%w: --apiserver-port 0 needs --api-only: the address of a node must not change", fault.ErrUsage)
	case c.MaxPods < 1 || c.MaxPods > 1000:
		err = fmt.Errorf("%w: --max-pods %d is not between 1 and 1000", fault.ErrUsage, c.MaxPods)
	}
	return plan, err
}

// configFile remembers with what the node was started: the stop has to take
// away what that start made, whatever the flags are then.
const configFile = "node.json"

func (c Config) save(d layout.Dir) error {
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the configuration: %w", err)
	}
	if err := layout.WriteFile(d.Path(configFile), append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	return nil
}

// saved returns the configuration of the last start, or c if there was none.
func (c Config) saved(d layout.Dir) (Config, error) {
	b, err := os.ReadFile(d.Path(configFile))
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("read the configuration: %w", err)
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("read %s: %w", d.Path(configFile), err)
	}
	return c, nil
}
