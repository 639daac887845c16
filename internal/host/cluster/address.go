package cluster

import (
	"net"
	"regexp"
	"strings"
)

// place is what a host name in a user's object means.
type place struct {
	kind      placeKind
	name      string // of the Service
	namespace string
	hostname  string // of one endpoint of a headless Service
	ip        string // of a Pod
	// sure says that the name can be nothing else. A name of two labels may be
	// that of a Service, as it is for programs in the cluster, or one of the
	// world.
	sure bool
}

type placeKind int

const (
	elsewhere placeKind = iota // for the machine's own resolver
	thisMachine
	aService
	aPod
)

// Domain is the cluster's domain unless its kubelets say otherwise.
const Domain = "cluster.local"

var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// parsePlace reads a host name as a program in the cluster would have it
// resolved, whatever its own namespace.
func parsePlace(host, domain string) place {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if net.ParseIP(host) != nil {
		return place{}
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return place{kind: thisMachine}
	}
	short, full := strings.CutSuffix(host, "."+domain)
	parts := strings.Split(short, ".")
	for _, p := range parts {
		if !label.MatchString(p) {
			return place{}
		}
	}
	n := len(parts)
	switch last := parts[n-1]; {
	case last == "svc" && n == 3:
		return place{kind: aService, name: parts[0], namespace: parts[1], sure: true}
	case last == "svc" && n == 4:
		return place{kind: aService, hostname: parts[0], name: parts[1], namespace: parts[2], sure: true}
	case last == "pod" && n == 3:
		if ip := strings.ReplaceAll(parts[0], "-", "."); net.ParseIP(ip) != nil {
			return place{kind: aPod, ip: ip, namespace: parts[1], sure: true}
		}
	case n == 2 && !full:
		return place{kind: aService, name: parts[0], namespace: parts[1]}
	}
	return place{}
}
