// Package podnet is where the Pods of the embedded cluster find this machine:
// the address of the bridge that they hang on, which is the node's own. Nothing
// beyond the machine can reach it.
package podnet

import (
	"context"
	"net"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// Address is the node's address unless its configuration says otherwise: the
// first of the Pods' range.
const Address = "10.214.0.1"

// Beside is where Pods find what listens on addr, "" if that is no address.
func Beside(addr string) string {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return ""
	}
	return net.JoinHostPort(Address, port)
}

// Covers says whether what listens on addr listens for Pods as well.
func Covers(addr, pods string) bool {
	host, port, err := net.SplitHostPort(addr)
	podHost, podPort, podErr := net.SplitHostPort(pods)
	if err != nil || podErr != nil || port != podPort {
		return false
	}
	ip := net.ParseIP(host)
	return host == "" || host == podHost || ip != nil && ip.IsUnspecified()
}

// Listen listens on an address of the bridge, which need not be there yet: the
// node makes it, and may start later. Another process may listen there at the
// same time, which is how one takes over from the other.
func Listen(ctx context.Context, addr string) (net.Listener, error) {
	l, err := (&net.ListenConfig{Control: control}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, &problem.Error{Op: "listen for Pods on", Subject: addr, Err: err, Hint: "choose another address with --pod-listen, or none"}
	}
	return l, nil
}
