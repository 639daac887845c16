package cluster

import (
	"fmt"
	"net"
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// NamesNamespace is where the Services of Penstock itself are.
const NamesNamespace = "penstock"

// Names are the Services under which Pods find Penstock, wherever it runs:
// http://penstock.penstock.svc, http://git.penstock.svc,
// http://registry.penstock.svc and http://gateway.penstock.svc, on port 80 and
// on the port that each has on the machine. Programs that take every name below
// .localhost for themselves, as curl and browsers do, reach it by these.
func Names(server, gateway string) ([]*unstructured.Unstructured, error) {
	out := []*unstructured.Unstructured{{Object: map[string]any{
		"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": NamesNamespace, "labels": labels()},
	}}}
	for _, s := range []struct{ name, address string }{
		{"penstock", server}, {"git", server}, {"registry", server}, {"gateway", gateway},
	} {
		objects, err := named(s.name, s.address)
		if err != nil {
			return nil, err
		}
		out = append(out, objects...)
	}
	return out, nil
}

func labels() map[string]any { return map[string]any{"app.kubernetes.io/managed-by": "penstock"} }

// named is a Service and where it leads.
func named(name, address string) ([]*unstructured.Unstructured, error) {
	host, p, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("address of service %s: %w", name, err)
	}
	port, err := strconv.ParseInt(p, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("address of service %s: %w", name, err)
	}
	ports := []any{map[string]any{"name": "http", "port": int64(80), "targetPort": port, "protocol": "TCP"}}
	endpoints := []any{map[string]any{"name": "http", "port": port, "protocol": "TCP"}}
	if port != 80 {
		ports = append(ports, map[string]any{"name": "machine", "port": port, "targetPort": port, "protocol": "TCP"})
		endpoints = append(endpoints, map[string]any{"name": "machine", "port": port, "protocol": "TCP"})
	}
	l := labels()
	l["kubernetes.io/service-name"] = name
	return []*unstructured.Unstructured{
		{Object: map[string]any{
			"apiVersion": "v1", "kind": "Service",
			"metadata": map[string]any{"name": name, "namespace": NamesNamespace, "labels": labels()},
			"spec":     map[string]any{"ports": ports},
		}},
		{Object: map[string]any{
			"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
			"metadata":    map[string]any{"name": name, "namespace": NamesNamespace, "labels": l},
			"addressType": "IPv4", "ports": endpoints,
			"endpoints": []any{map[string]any{"addresses": []any{host}, "conditions": map[string]any{"ready": true}}},
		}},
	}, nil
}
