package route

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Request is what matches look at.
type Request struct {
	Method string
	URL    *url.URL
	Header http.Header
}

// Find is Lookup with all of a request: rules of HTTPRoutes are looked at
// before Ingresses and Services.
func (t *Table) Find(host string, r Request) (Match, *Miss) {
	if len(t.HTTP) > 0 {
		if m := t.findHTTP(host, r); m != nil {
			return Match{Action: m.Action, Source: "HTTPRoute " + m.Source}, nil
		}
	}
	m, miss := t.Lookup(host, r.URL.Path)
	if miss != nil && t.hostOfHTTP(host) {
		miss.Reason = "no rule of an HTTPRoute for " + host + " matches this request"
	}
	return m, miss
}

// findHTTP tries the exact host, then wildcards from the longest on, then rules
// for any host. A wildcard stands for one or more labels.
func (t *Table) findHTTP(host string, r Request) *HTTPMatcher {
	query := lazyQuery{u: r.URL}
	for key := range hostKeys(host) {
		list := t.HTTP[key]
		for i := range list {
			if list[i].matches(r, &query) {
				return &list[i]
			}
		}
	}
	return nil
}

func (t *Table) hostOfHTTP(host string) bool {
	for key := range hostKeys(host) {
		if _, ok := t.HTTP[key]; ok && key != "" {
			return true
		}
	}
	return false
}

// hostKeys yields the keys of a table under which host may be, best first.
func hostKeys(host string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		if !yield(host) {
			return
		}
		for rest := host; ; {
			_, after, ok := strings.Cut(rest, ".")
			if !ok {
				break
			}
			if !yield("*." + after) {
				return
			}
			rest = after
		}
		yield("")
	}
}

type lazyQuery struct {
	u      *url.URL
	parsed url.Values
}

func (q *lazyQuery) first(name string) (string, bool) {
	if q.parsed == nil {
		q.parsed = q.u.Query()
	}
	v, ok := q.parsed[name]
	if !ok {
		return "", false
	}
	return v[0], true
}

func (m *HTTPMatcher) matches(r Request, query *lazyQuery) bool {
	if m.Method != "" && m.Method != r.Method {
		return false
	}
	if !(&Rule{Path: m.Path, Exact: m.Exact}).matches(r.URL.Path) {
		return false
	}
	for _, h := range m.Headers {
		values, ok := r.Header[h.Name]
		if !ok || strings.Join(values, ",") != h.Value {
			return false
		}
	}
	for _, q := range m.Query {
		if v, ok := query.first(q.Name); !ok || v != q.Value {
			return false
		}
	}
	return true
}

// sortMatchers puts the one that counts first at the front, as the Gateway API
// says: exact paths, longer prefixes, a method, more headers, more query
// parameters. What is still equal stays in order: older routes first.
func sortMatchers(list []HTTPMatcher) {
	slices.SortStableFunc(list, func(x, y HTTPMatcher) int {
		return cmp.Or(
			less(x.Exact, y.Exact),
			cmp.Compare(len(y.Path), len(x.Path)),
			less(x.Method != "", y.Method != ""),
			cmp.Compare(len(y.Headers), len(x.Headers)),
			cmp.Compare(len(y.Query), len(x.Query)))
	})
}

// less puts true first.
func less(x, y bool) int {
	switch {
	case x == y:
		return 0
	case x:
		return -1
	}
	return 1
}
