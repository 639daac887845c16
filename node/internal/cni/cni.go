// Package cni writes the network configuration of Pods: one bridge whose
// address is the node's, addresses from the Pod range.
package cni

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/penstock-dev/penstock/node/internal/layout"
)

// Params are what the configuration depends on.
type Params struct {
	Name    string // of the network; unique on the machine, libcni caches under it
	Bridge  string
	PodCIDR string
	Gateway string
	MTU     int
	DataDir string // of the address allocator
}

// Config returns the configuration list. Masquerading is done by one rule of
// the node (package network), not by one chain per Pod.
func Config(p Params) ([]byte, error) {
	list := map[string]any{
		"cniVersion": "1.0.0",
		"name":       p.Name,
		"plugins": []map[string]any{
			{
				"type":             "bridge",
				"bridge":           p.Bridge,
				"isGateway":        true,
				"isDefaultGateway": true,
				"ipMasq":           false,
				"hairpinMode":      true,
				"mtu":              p.MTU,
				"ipam": map[string]any{
					"type":    "host-local",
					"dataDir": p.DataDir,
					"ranges":  [][]map[string]any{{{"subnet": p.PodCIDR, "gateway": p.Gateway}}},
				},
			},
			{"type": "portmap", "capabilities": map[string]bool{"portMappings": true}, "snat": true},
		},
	}
	b, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the network configuration: %w", err)
	}
	return append(b, '\n'), nil
}

// Write puts the configuration into dir, where it is the only one.
func Write(dir string, p Params) error {
	b, err := Config(p)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write the network configuration: %w", err)
	}
	if err := layout.WriteFile(filepath.Join(dir, "10-penstock.conflist"), b, 0o644); err != nil {
		return fmt.Errorf("write the network configuration: %w", err)
	}
	return nil
}
