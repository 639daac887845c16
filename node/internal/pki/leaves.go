package pki

import (
	"net"

	"k8s.io/apimachinery/pkg/util/sets"
)

// Names of the leaves.
const (
	APIServer        = "apiserver"
	APIServerKubelet = "apiserver-kubelet-client"
	FrontProxy       = "front-proxy-client"
	Admin            = "admin"
	Controllers      = "controller-manager"
	Scheduler        = "scheduler"
	Proxy            = "proxy"
	DNS              = "dns"
	Kubelet          = "kubelet"
	KubeletServer    = "kubelet-server"
)

// mastersGroup may do everything. The parts of the control plane that live in
// the apiserver's own process use it too: they could read its memory anyway,
// and need not wait for the first start to write the roles.
const mastersGroup = "system:masters"

// ControlPlane returns the leaves of a control plane that answers at ips and,
// inside the cluster, at serviceIP.
func ControlPlane(ips []net.IP, serviceIP net.IP, domain string) []Leaf {
	names := sets.New("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc."+domain)
	seen := sets.New[string]()
	var all []net.IP
	for _, ip := range append(append([]net.IP{}, ips...), serviceIP, net.IPv4(127, 0, 0, 1)) {
		if !seen.Has(ip.String()) {
			seen.Insert(ip.String())
			all = append(all, ip)
		}
	}
	return []Leaf{
		{Name: APIServer, Issuer: CA, CN: "kube-apiserver", Server: true, DNS: sets.List(names), IPs: all},
		{Name: APIServerKubelet, Issuer: CA, CN: "kube-apiserver-kubelet-client", Groups: []string{mastersGroup}},
		{Name: FrontProxy, Issuer: FrontProxyCA, CN: "front-proxy-client"},
		{Name: Admin, Issuer: CA, CN: "penstock-admin", Groups: []string{mastersGroup}},
		{Name: Controllers, Issuer: CA, CN: "system:kube-controller-manager", Groups: []string{mastersGroup}},
		{Name: Scheduler, Issuer: CA, CN: "system:kube-scheduler", Groups: []string{mastersGroup}},
	}
}

// Node returns the leaves of a node.
func Node(name string, ip net.IP) []Leaf {
	return []Leaf{
		{Name: Kubelet, Issuer: CA, CN: "system:node:" + name, Groups: []string{"system:nodes"}},
		{Name: KubeletServer, Issuer: CA, CN: "system:node:" + name, Server: true, DNS: []string{name}, IPs: []net.IP{ip}},
		{Name: Proxy, Issuer: CA, CN: "system:kube-proxy", Groups: []string{mastersGroup}},
		{Name: DNS, Issuer: CA, CN: "system:penstock-dns", Groups: []string{mastersGroup}},
	}
}
