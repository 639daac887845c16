package dns

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCorefile(t *testing.T) {
	p := Params{Bind: "10.214.0.1", Port: 10053, Domain: "cluster.local", Kubeconfig: "/d/kubeconfig/dns", NodeIP: "10.214.0.1", ResolvConf: "/etc/resolv.conf"}
	want := `.:10053 {
    bind 10.214.0.1
    errors
    template IN A localhost {
        match ^localhost\.$
        answer "{{ .Name }} 60 IN A 127.0.0.1"
        fallthrough
    }
    template IN A localhost {
        answer "{{ .Name }} 60 IN A 10.214.0.1"
    }
    template IN ANY localhost {
        rcode NOERROR
    }
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        kubeconfig /d/kubeconfig/dns
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 5
    }
    forward . /etc/resolv.conf {
        max_concurrent 1000
    }
    cache 30 {
        disable success cluster.local
        disable denial cluster.local
    }
    loadbalance
}
`
	if d := cmp.Diff(want, Corefile(p)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	p.ResolvConf = ""
	if got := Corefile(p); strings.Contains(got, "forward") {
		t.Errorf("forwards without resolvers:\n%s", got)
	}
}

func TestForPods(t *testing.T) {
	for name, tc := range map[string]struct{ host, want string }{
		"plain":          {"# by hand\nsearch example.org\nnameserver 192.0.2.1\n", "search example.org\nnameserver 192.0.2.1\n"},
		"systemd stub":   {"nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch lan\n", "nameserver 10.215.0.10\noptions edns0 trust-ad\nsearch lan\n"},
		"both":           {"nameserver 127.0.0.1\nnameserver 192.0.2.2\n", "nameserver 192.0.2.2\n"},
		"IPv6 loopback":  {"nameserver ::1\n", "nameserver 10.215.0.10\n"},
		"empty":          {"", "nameserver 10.215.0.10\n"},
		"not an address": {"nameserver one\n", "nameserver 10.215.0.10\n"},
	} {
		if d := cmp.Diff(tc.want, ForPods(tc.host, "10.215.0.10")); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

func FuzzForPods(f *testing.F) {
	f.Add("nameserver 127.0.0.53\noptions edns0\n")
	f.Add("nameserver\n; x\n\tnameserver ::1%lo")
	f.Fuzz(func(t *testing.T, host string) {
		got := ForPods(host, "10.215.0.10")
		if !names(got) {
			t.Errorf("%q becomes %q: nobody to ask", host, got)
		}
		for _, a := range nameservers(got) {
			if a.IsLoopback() {
				t.Errorf("%q becomes %q: a Pod cannot ask %s", host, got, a)
			}
		}
	})
}
