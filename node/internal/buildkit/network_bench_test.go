//go:build bench && linux

package buildkit

import (
	"context"
	"net/netip"
	"os"
	"testing"

	bknetwork "github.com/moby/buildkit/util/network"
)

func BenchmarkNetworkOfAStep(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root")
	}
	o, err := Options{Root: b.TempDir(), Socket: "x", Bridge: "psbbench0", Subnet: netip.MustParsePrefix("10.219.0.0/24")}.withDefaults()
	if err != nil {
		b.Fatal(err)
	}
	n, err := newNetwork(b.Context(), o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := n.Close(); err != nil {
			b.Error(err)
		}
		if err := clean(context.Background(), o); err != nil {
			b.Error(err)
		}
	})
	for b.Loop() {
		ns, err := n.New(b.Context(), "", bknetwork.NamespaceOptions{})
		if err != nil {
			b.Fatal(err)
		}
		if err := ns.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
