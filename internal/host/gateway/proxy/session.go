package proxy

import (
	"net/http"
	"strings"
)

// Cookies know hosts, not ports: a browser that is logged in to Penstock at its
// own name sends the session to whatever answers at that name on the gateway's
// port, and to an application at 127.0.0.1 as well. So applications are not
// served at Penstock's name, and the session is never passed on.

// own says whether host is Penstock's own name.
func (o Options) own(host string) bool { return o.OwnHost != "" && host == o.OwnHost }

// dropCookie takes the cookie called name out of a request's header.
func dropCookie(h http.Header, name string) {
	lines := h["Cookie"]
	if name == "" || !mentions(lines, name) {
		return
	}
	var kept []string
	for _, line := range lines {
		for c := range strings.SplitSeq(line, ";") {
			c = strings.TrimSpace(c)
			if key, _, _ := strings.Cut(c, "="); strings.TrimSpace(key) != name && c != "" {
				kept = append(kept, c)
			}
		}
	}
	if len(kept) == 0 {
		delete(h, "Cookie")
		return
	}
	h["Cookie"] = []string{strings.Join(kept, "; ")}
}

func mentions(lines []string, name string) bool {
	for _, line := range lines {
		if strings.Contains(line, name) {
			return true
		}
	}
	return false
}
