package proxy

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestDropCookie(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"a=1; b=2", "a=1; b=2"},
		{"session=x", ""},
		{"a=1; session=x; b=2", "a=1; b=2"},
		{"session = x;session=y; a=1", "a=1"},
		{"sessions=x; my_session=y", "sessions=x; my_session=y"},
		{"a=session", "a=session"},
	} {
		h := http.Header{}
		if c.in != "" {
			h.Set("Cookie", c.in)
		}
		dropCookie(h, "session")
		if got := h.Get("Cookie"); got != c.want {
			t.Errorf("of %q stays %q, want %q", c.in, got, c.want)
		}
	}
	h := http.Header{"Cookie": {"a=1", "session=x", "b=2"}}
	if dropCookie(h, "session"); strings.Join(h["Cookie"], "|") != "a=1; b=2" {
		t.Errorf("several lines become %q", h["Cookie"])
	}
}

// TestTheSessionStaysWithPenstock: an application sees no session, and does not
// answer at Penstock's own name, whatever its routes say.
func TestTheSessionStaysWithPenstock(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(r.Header.Get("Cookie")))
	}))
	defer app.Close()
	f := start(t, Options{OwnHost: "penstock.localhost", OwnCookie: "penstock_session"}, "http1")
	table := table(false, strings.TrimPrefix(app.URL, "http://"))
	table.Hosts["penstock.localhost"] = table.Hosts["app.localhost"]
	f.Use(table)
	if _, got := f.do(t, http.MethodGet, "/", nil, "Cookie", "theme=dark; penstock_session=secret"); got != "theme=dark" {
		t.Errorf("the application got the cookies %q", got)
	}
	for _, host := range []string{"penstock.localhost:7070", "PENSTOCK.localhost."} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = host
		f.ServeHTTP(w, r)
		if w.Code != http.StatusMisdirectedRequest || !strings.Contains(w.Body.String(), "not an application") {
			t.Errorf("%s answers %d %s", host, w.Code, w.Body)
		}
	}
}
