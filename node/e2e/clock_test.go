//go:build e2e

package e2e

import (
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-dev/penstock/node/internal/pki"
)

// TestClockJump starts a control plane on a directory whose certificates were
// issued by another clock: what a machine finds whose clock has jumped while
// the node was stopped. The machine's own clock is not ours to set.
func TestClockJump(t *testing.T) {
	const day = 24 * time.Hour
	n := newNode(t, "--api-only", "--apiserver-port", "0")
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kept"}}
	if _, err := n.client.CoreV1().ConfigMaps(ns).Create(t.Context(), cm, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, jump := range []struct {
		name   string
		issued time.Duration // the other clock, from ours
	}{{"400 days forward", -400 * day}, {"2 days back", 2 * day}} {
		t.Run(jump.name, func(t *testing.T) {
			n.stop()
			dir := filepath.Join(n.dir, "pki")
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			other := &pki.Store{Dir: dir, Now: func() time.Time { return time.Now().Add(jump.issued) }}
			// The same leaves as those of the node, so that only their times can
			// be why it issues them again.
			leaves := pki.ControlPlane([]net.IP{net.IPv4(127, 0, 0, 1)}, net.IPv4(10, 215, 0, 1), "cluster.local")
			if _, err := other.Ensure(leaves); err != nil {
				t.Fatal(err)
			}
			if before := leaf(t, other.Cert(pki.APIServer)); !time.Now().Before(before.NotBefore) && !time.Now().After(before.NotAfter) {
				t.Fatalf("valid from %s to %s: the test sets nothing up", before.NotBefore, before.NotAfter)
			}
			authority := leaf(t, other.Cert(pki.CA))
			n.start()
			n.ready(time.Minute)
			if _, err := n.client.CoreV1().ConfigMaps(ns).Get(t.Context(), "kept", metav1.GetOptions{}); err != nil {
				t.Errorf("with the kubeconfig of this start: %v", err)
			}
			for _, l := range leaves {
				if c := leaf(t, other.Cert(l.Name)); time.Now().Before(c.NotBefore) || time.Until(c.NotAfter) < 20*day {
					t.Errorf("%s is valid from %s to %s", l.Name, c.NotBefore, c.NotAfter)
				}
			}
			if !authority.Equal(leaf(t, other.Cert(pki.CA))) {
				t.Error("the authority was replaced: clients that trust it are cut off")
			}
		})
	}
}

func leaf(t *testing.T, file string) *x509.Certificate {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		t.Fatalf("%s holds no certificate", file)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
