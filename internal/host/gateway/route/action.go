package route

import (
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// HTTPMatcher is one match of one rule of an HTTPRoute, with what the rule does.
type HTTPMatcher struct {
	Path    string      `json:"path"`
	Exact   bool        `json:"exact,omitempty"`
	Method  string      `json:"method,omitempty"`
	Headers []NameValue `json:"headers,omitempty"`
	Query   []NameValue `json:"query,omitempty"`
	Action  *Action     `json:"action"`
	Source  string      `json:"source"` // "namespace/name" of the HTTPRoute
}

// NameValue is a header or query parameter.
type NameValue struct {
	Name  string `json:"name"`
	Value string `json:"value,omitempty"`
}

// Action is what a rule of an HTTPRoute does with a request.
type Action struct {
	Backends        []Weighted    `json:"backends,omitempty"`
	RequestHeaders  *HeaderEdit   `json:"requestHeaders,omitempty"`
	ResponseHeaders *HeaderEdit   `json:"responseHeaders,omitempty"`
	Redirect        *Redirect     `json:"redirect,omitempty"`
	Rewrite         *Rewrite      `json:"rewrite,omitempty"`
	Mirrors         []Mirror      `json:"mirrors,omitempty"`
	Timeout         time.Duration `json:"timeout,omitempty"`
}

// Weighted is a backend with its share. One without a key stands for a
// reference that leads nowhere: its share gets an error, as the API wants.
type Weighted struct {
	Backend string `json:"backend,omitempty"`
	Why     string `json:"why,omitempty"`
	Weight  int32  `json:"weight"`
}

// Mirror is a backend that gets a copy of a share of the requests.
type Mirror struct {
	Backend     string `json:"backend"`
	Numerator   int32  `json:"numerator"`
	Denominator int32  `json:"denominator"`
}

// HeaderEdit changes a header: first Set, then Add, then Remove.
type HeaderEdit struct {
	Set    []NameValue `json:"set,omitempty"`
	Add    []NameValue `json:"add,omitempty"`
	Remove []string    `json:"remove,omitempty"`
}

// Apply edits h.
func (e *HeaderEdit) Apply(h http.Header) {
	if e == nil {
		return
	}
	for _, nv := range e.Set {
		h[textproto.CanonicalMIMEHeaderKey(nv.Name)] = []string{nv.Value}
	}
	for _, nv := range e.Add {
		k := textproto.CanonicalMIMEHeaderKey(nv.Name)
		h[k] = append(h[k][:len(h[k]):len(h[k])], nv.Value)
	}
	for _, name := range e.Remove {
		delete(h, textproto.CanonicalMIMEHeaderKey(name))
	}
}

// PathEdit replaces a path, or the part of it that matched.
type PathEdit struct {
	Full   bool   `json:"full,omitempty"`
	Value  string `json:"value"`
	Prefix string `json:"prefix,omitempty"` // what matched
}

// apply gives the new path, decoded and as it is written.
func (e *PathEdit) apply(u *url.URL) (path, raw string) {
	if e == nil {
		return u.Path, u.EscapedPath()
	}
	if e.Full {
		raw = (&url.URL{Path: e.Value}).EscapedPath()
		return e.Value, raw
	}
	raw = swapPrefix(u.EscapedPath(), e.Prefix, e.Value)
	if path, err := url.PathUnescape(raw); err == nil {
		return path, raw
	}
	path = swapPrefix(u.Path, e.Prefix, e.Value)
	return path, (&url.URL{Path: path}).EscapedPath()
}

// swapPrefix replaces whole elements at the beginning of a path.
func swapPrefix(path, prefix, value string) string {
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(prefix, "/"))
	if !ok {
		return path // it is written in a way that hides the prefix
	}
	if rest == "" {
		if value == "" {
			return "/"
		}
		return value
	}
	return strings.TrimSuffix(value, "/") + "/" + strings.TrimPrefix(rest, "/")
}

// Rewrite changes the request before it is sent on.
type Rewrite struct {
	Host string    `json:"host,omitempty"`
	Path *PathEdit `json:"path,omitempty"`
}

// Apply changes the URL and returns the host to send, "" to leave it.
func (w *Rewrite) Apply(u *url.URL) (host string) {
	if w == nil {
		return ""
	}
	if w.Path != nil {
		u.Path, u.RawPath = w.Path.apply(u)
	}
	return w.Host
}

// Redirect sends the client elsewhere.
type Redirect struct {
	Scheme string    `json:"scheme,omitempty"`
	Host   string    `json:"host,omitempty"`
	Port   int32     `json:"port,omitempty"`
	Path   *PathEdit `json:"path,omitempty"`
	Code   int       `json:"code"`
}

// Location is where a request for u on host (with its port, as the client wrote
// it) is sent. Another scheme means its own port, unless one is given.
func (r *Redirect) Location(host string, u *url.URL) string {
	name, port := splitPort(host)
	scheme := "http"
	if r.Scheme != "" {
		scheme, port = r.Scheme, ""
	}
	if r.Host != "" {
		name = r.Host
	}
	if r.Port != 0 {
		port = strconv.Itoa(int(r.Port))
	}
	if scheme == "http" && port == "80" || scheme == "https" && port == "443" {
		port = ""
	}
	if port != "" {
		name += ":" + port
	}
	_, raw := r.Path.apply(u)
	if !strings.HasPrefix(raw, "/") {
		raw = "/" + raw
	}
	to := scheme + "://" + name + raw
	if u.RawQuery != "" {
		to += "?" + u.RawQuery
	}
	return to
}

// splitPort divides "host:port"; an IPv6 literal keeps its brackets.
func splitPort(host string) (name, port string) {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || strings.HasSuffix(host, "]") {
		return host, ""
	}
	return host[:i], host[i+1:]
}

// Pick chooses a backend by weight. n is any number; the same one gives the
// same backend.
func (a *Action) Pick(n uint64) (w Weighted, ok bool) {
	total := uint64(0)
	for i := range a.Backends {
		total += uint64(a.Backends[i].Weight)
	}
	if total == 0 {
		return Weighted{}, false
	}
	n %= total
	for i := range a.Backends {
		weight := uint64(a.Backends[i].Weight)
		if n < weight {
			return a.Backends[i], true
		}
		n -= weight
	}
	return Weighted{}, false
}

// Takes says whether a request is among those to mirror.
func (m Mirror) Takes(n uint64) bool {
	return m.Denominator > 0 && n%uint64(m.Denominator) < uint64(max(m.Numerator, 0))
}
