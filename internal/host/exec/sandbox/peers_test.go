//go:build linux

package sandbox

import (
	"net/netip"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

func TestPeerSubnet(t *testing.T) {
	for of, want := range map[string]string{
		"10.216.0.0/16": "10.216.255.0/24", "10.216.8.0/21": "10.216.15.0/24", "10.0.0.0/24": "10.0.0.0/24", "10.0.0.0/8": "10.255.255.0/24",
	} {
		if got := peerSubnet(netip.MustParsePrefix(of)); got.String() != want {
			t.Errorf("of %s: %s, want %s", of, got, want)
		}
	}
}

func query(t testing.TB, name string, kind dnsmessage.Type) []byte {
	t.Helper()
	n, err := dnsmessage.NewName(name)
	if err != nil {
		t.Fatal(err)
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: n, Type: kind, Class: dnsmessage.ClassINET}},
	}
	data, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func somePeers() *peers {
	return &peers{names: map[string]netip.Addr{"postgres": netip.MustParseAddr("10.216.255.3")}}
}

func TestPeerNames(t *testing.T) {
	p := somePeers()
	search := searchDomains([]string{"options ndots:1", "search corp.example lab"})
	for _, tc := range []struct {
		name    string
		kind    dnsmessage.Type
		known   bool
		answers int
	}{
		{"postgres.", dnsmessage.TypeA, true, 1},
		{"POSTGRES.", dnsmessage.TypeA, true, 1},
		{"postgres.", dnsmessage.TypeAAAA, true, 0},
		{"postgres.corp.example.", dnsmessage.TypeA, true, 1},
		{"postgres.lab.", dnsmessage.TypeA, true, 1},
		{"postgres.elsewhere.", dnsmessage.TypeA, false, 0},
		{"redis.", dnsmessage.TypeA, false, 0},
		{"db.postgres.", dnsmessage.TypeA, false, 0},
	} {
		out := p.answer(query(t, tc.name, tc.kind), search)
		if (out != nil) != tc.known {
			t.Errorf("%s %s: answered %v, want %v", tc.name, tc.kind, out != nil, tc.known)
			continue
		}
		if out == nil {
			continue
		}
		var m dnsmessage.Message
		if err := m.Unpack(out); err != nil {
			t.Fatal(err)
		}
		if m.ID != 7 || !m.Response || m.RCode != dnsmessage.RCodeSuccess || len(m.Answers) != tc.answers {
			t.Errorf("%s %s: %+v", tc.name, tc.kind, m)
		}
	}
}

func TestLocalhostNames(t *testing.T) {
	for name, known := range map[string]bool{"localhost.": true, "shop.localhost.": true, "A.B.LocalHost.": true, "localhost.example.": false, "notlocalhost.": false} {
		out := localhost(query(t, name, dnsmessage.TypeA))
		if (out != nil) != known {
			t.Errorf("%s: answered %t", name, out != nil)
		}
	}
}

func FuzzPeerAnswer(f *testing.F) {
	f.Add(query(f, "postgres.", dnsmessage.TypeA))
	f.Add(query(f, "other.", dnsmessage.TypeTXT))
	f.Add([]byte{0, 1, 2})
	f.Fuzz(func(t *testing.T, data []byte) {
		if out := somePeers().answer(data, []string{"a"}); out != nil {
			var m dnsmessage.Message
			if err := m.Unpack(out); err != nil {
				t.Errorf("an answer that cannot be read: %v", err)
			}
		}
	})
}
