//go:build linux

package sandbox

import (
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// peerTTL is short: a service can be replaced by another within a job.
const peerTTL = 1

// localhost answers for every name below localhost: it is the session itself,
// where what is forwarded to it is found.
func localhost(query []byte) []byte {
	return respond(query, func(name string) (netip.Addr, bool) {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), name == "localhost" || strings.HasSuffix(name, ".localhost")
	})
}

// answer answers a query for a name of the private network, and returns nil
// for all others. Resolvers append the machine's search domains to a short
// name before they ask for the name itself, so those are taken off.
func (p *peers) answer(query []byte, search []string) []byte {
	return respond(query, func(name string) (netip.Addr, bool) {
		addr, ok := p.lookup(name)
		for i := 0; !ok && i < len(search); i++ {
			if short, has := strings.CutSuffix(name, "."+strings.ToLower(strings.Trim(search[i], "."))); has {
				addr, ok = p.lookup(short)
			}
		}
		return addr, ok
	})
}

// respond answers a query for a name that lookup knows, else with nil.
func respond(query []byte, lookup func(name string) (netip.Addr, bool)) []byte {
	var parser dnsmessage.Parser
	head, err := parser.Start(query)
	if err != nil || head.Response {
		return nil
	}
	q, err := parser.Question()
	if err != nil || q.Class != dnsmessage.ClassINET {
		return nil
	}
	addr, ok := lookup(strings.TrimSuffix(strings.ToLower(q.Name.String()), "."))
	if !ok {
		return nil
	}
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{
		ID: head.ID, Response: true, Authoritative: true, RecursionDesired: head.RecursionDesired, RecursionAvailable: true,
	})
	err = b.StartQuestions()
	if err == nil {
		err = b.Question(q)
	}
	if err == nil {
		err = b.StartAnswers()
	}
	// For other types the name exists and has nothing to say.
	if err == nil && (q.Type == dnsmessage.TypeA || q.Type == dnsmessage.TypeALL) {
		err = b.AResource(dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: peerTTL}, dnsmessage.AResource{A: addr.As4()})
	}
	if err != nil {
		return nil
	}
	out, err := b.Finish()
	if err != nil {
		return nil
	}
	return out
}

// searchDomains finds them in the lines of a resolv.conf.
func searchDomains(lines []string) []string {
	var out []string
	for _, l := range lines {
		if f := strings.Fields(l); len(f) > 1 && (f[0] == "search" || f[0] == "domain") {
			out = f[1:] // the last one counts
		}
	}
	return out
}
