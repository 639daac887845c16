package dns

import (
	"fmt"
	"strings"
)

// Params are what the server's configuration depends on.
type Params struct {
	Bind       string // address
	Port       int
	Domain     string // of the cluster
	Kubeconfig string
	// NodeIP is where names below localhost lead: what a person calls
	// http://<app>.localhost on this machine is called the same in a Pod.
	NodeIP     string
	ResolvConf string // with the machine's resolvers; "" for none
}

// Corefile returns the configuration.
func Corefile(p Params) string {
	var b strings.Builder
	w := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	w(".:%d {", p.Port)
	w("    bind %s", p.Bind)
	w("    errors")
	w("    template IN A localhost {")
	w("        match ^localhost\\.$")
	w("        answer \"{{ .Name }} 60 IN A 127.0.0.1\"")
	w("        fallthrough")
	w("    }")
	w("    template IN A localhost {")
	w("        answer \"{{ .Name }} 60 IN A %s\"", p.NodeIP)
	w("    }")
	w("    template IN ANY localhost {")
	w("        rcode NOERROR")
	w("    }")
	w("    kubernetes %s in-addr.arpa ip6.arpa {", p.Domain)
	w("        kubeconfig %s", p.Kubeconfig)
	w("        pods insecure")
	w("        fallthrough in-addr.arpa ip6.arpa")
	w("        ttl 5")
	w("    }")
	if p.ResolvConf != "" {
		w("    forward . %s {", p.ResolvConf)
		w("        max_concurrent 1000")
		w("    }")
	}
	w("    cache 30 {")
	w("        disable success %s", p.Domain)
	w("        disable denial %s", p.Domain)
	w("    }")
	w("    loadbalance")
	w("}")
	return b.String()
}
