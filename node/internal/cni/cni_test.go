package cni

import (
	"testing"

	"github.com/containernetworking/cni/libcni"
)

// TestConfig asks the library that containerd uses.
func TestConfig(t *testing.T) {
	b, err := Config(Params{Name: "penstock-1", Bridge: "penstock0", PodCIDR: "10.214.0.0/16", Gateway: "10.214.0.1", MTU: 1400, DataDir: "/d"})
	if err != nil {
		t.Fatal(err)
	}
	list, err := libcni.NetworkConfFromBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	if list.Name != "penstock-1" || len(list.Plugins) != 2 || list.Plugins[0].Network.Type != "bridge" || list.Plugins[0].Network.IPAM.Type != "host-local" || !list.Plugins[1].Network.Capabilities["portMappings"] {
		t.Errorf("got %+v", list)
	}
}
