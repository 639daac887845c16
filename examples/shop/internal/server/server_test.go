package server

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAnswers(t *testing.T) {
	s := New("v1", t.TempDir())
	for _, c := range []struct {
		method, path, body string
		code               int
		want               string
	}{
		{"GET", "/healthz", "", 200, `"ok"`},
		{"GET", "/readyz", "", 200, `"ok"`},
		{"GET", "/version", "", 200, `{"version":"v1"}`},
		{"GET", "/api/products", "", 200, `"Gate valve"`},
		{"GET", "/api/cart", "", 200, `{"lines":[],"total":0}`},
		{"POST", "/api/cart", `{"product":"seal","quantity":2}`, 200, `"total":240`},
		{"POST", "/api/cart", `{"product":"unicorn","quantity":2}`, 404, "no such product"},
		{"POST", "/api/cart", `{"product":"seal","quantity":0}`, 422, "quantity must be"},
		{"POST", "/api/cart", `{"product":"seal","colour":"red"}`, 400, "unknown field"},
		{"POST", "/api/cart", strings.Repeat(" ", 5000), 400, "too large"},
		{"DELETE", "/api/cart", "", 204, ""},
		{"PUT", "/api/cart", "", 405, ""},
		{"GET", "/nothing", "", 404, ""},
	} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(c.method, c.path, strings.NewReader(c.body)))
		if w.Code != c.code || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s %s = %d %q, want %d and %q", c.method, c.path, w.Code, w.Body, c.code, c.want)
		}
		if w.Header().Get("Content-Security-Policy") == "" {
			t.Errorf("%s %s: no content security policy", c.method, c.path)
		}
	}
}

func TestVisitorsAreToldApart(t *testing.T) {
	s := New("v1", t.TempDir())
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("POST", "/api/cart", strings.NewReader(`{"product":"valve","quantity":1}`)))
	cookies := w.Result().Cookies()
	if len(cookies) != 1 || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteStrictMode {
		t.Fatalf("cookies %v", cookies)
	}
	again := httptest.NewRequest("GET", "/api/cart", nil)
	again.AddCookie(cookies[0])
	w = httptest.NewRecorder()
	s.ServeHTTP(w, again)
	if !strings.Contains(w.Body.String(), `"total":4900`) {
		t.Errorf("the visitor's cart is lost: %s", w.Body)
	}
	w = httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("GET", "/api/cart", nil))
	if !strings.Contains(w.Body.String(), `"total":0`) {
		t.Errorf("a stranger sees %s", w.Body)
	}
}

func TestDrain(t *testing.T) {
	s := New("v1", t.TempDir())
	s.Drain()
	for path, code := range map[string]int{"/readyz": 503, "/healthz": 200, "/api/products": 200} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != code {
			t.Errorf("%s while draining = %d, want %d", path, w.Code, code)
		}
	}
}
