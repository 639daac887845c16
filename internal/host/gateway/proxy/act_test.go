package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/host/gateway/route"
)

// routed is a table with one rule of an HTTPRoute.
func routed(a *route.Action, backends map[string]string) *route.Table {
	t := route.Empty("localhost")
	t.HTTP = map[string][]route.HTTPMatcher{"app.localhost": {{Path: "/", Action: a, Source: "ns/app"}}}
	t.Backends = map[string]*route.Backend{}
	for name, addr := range backends {
		t.Backends[name] = &route.Backend{Endpoints: []string{addr}}
	}
	return t
}

// teller says what it got.
func teller(t *testing.T, name string) string {
	return server(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Backend", name)
		w.Header().Set("X-Internal", "secret")
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s|%s|%s|%s", r.Method, r.Host, r.URL.RequestURI(), r.Header.Get("X-Add"), r.Header.Get("X-Drop"), b)
	})
}

func TestActions(t *testing.T) {
	one := []route.Weighted{{Backend: "one", Weight: 1}}
	f := start(t, Options{Hold: -1}, "http1")
	backends := map[string]string{"one": teller(t, "one"), "dead": dead(t)}
	for name, c := range map[string]struct {
		action *route.Action
		code   int
		body   string // part of it
		header [2]string
	}{
		"headers": {&route.Action{Backends: one,
			RequestHeaders:  &route.HeaderEdit{Set: []route.NameValue{{Name: "x-add", Value: "yes"}}, Remove: []string{"x-drop"}},
			ResponseHeaders: &route.HeaderEdit{Add: []route.NameValue{{Name: "X-Via", Value: "penstock"}}, Remove: []string{"x-internal"}},
		}, 200, "POST app.localhost /v1/x?q=1|yes||body", [2]string{"X-Via", "penstock"}},
		"rewrite": {&route.Action{Backends: one, Rewrite: &route.Rewrite{Host: "inner.example", Path: &route.PathEdit{Prefix: "/v1", Value: "/v2"}}},
			200, "POST inner.example /v2/x?q=1||1|body", [2]string{"X-Backend", "one"}},
		"full path":              {&route.Action{Backends: one, Rewrite: &route.Rewrite{Path: &route.PathEdit{Full: true, Value: "/all"}}}, 200, "POST app.localhost /all?q=1|", [2]string{}},
		"redirect":               {&route.Action{Redirect: &route.Redirect{Scheme: "https", Code: 301}}, 301, "", [2]string{"Location", "https://app.localhost/v1/x?q=1"}},
		"no backend":             {&route.Action{}, 500, "no backend with a weight", [2]string{"X-Penstock-Gateway", "1"}},
		"a backend that is none": {&route.Action{Backends: []route.Weighted{{Why: "Service a/b does not exist", Weight: 1}}}, 500, "Service a/b does not exist", [2]string{}},
		"a dead backend":         {&route.Action{Backends: []route.Weighted{{Backend: "dead", Weight: 1}}}, 502, "could not be reached", [2]string{}},
	} {
		f.Use(routed(c.action, backends))
		res, body := f.do(t, "POST", "/v1/x?q=1", strings.NewReader("body"), "X-Drop", "1")
		if res.StatusCode != c.code || !strings.Contains(body, c.body) {
			t.Errorf("%s: %d %q", name, res.StatusCode, body)
		}
		if c.header[0] != "" && res.Header.Get(c.header[0]) != c.header[1] {
			t.Errorf("%s: header %v", name, res.Header)
		}
		if name == "headers" && res.Header.Get("X-Internal") != "" {
			t.Errorf("%s: header %v", name, res.Header)
		}
	}
}

// TestWeights: a weight of zero gets nothing, and a change of the table counts
// for the next request.
func TestWeights(t *testing.T) {
	f := start(t, Options{}, "http1")
	backends := map[string]string{"stable": teller(t, "stable"), "canary": teller(t, "canary")}
	count := func(stable, canary int32) map[string]int {
		f.Use(routed(&route.Action{Backends: []route.Weighted{{Backend: "stable", Weight: stable}, {Backend: "canary", Weight: canary}}}, backends))
		got := map[string]int{}
		for range 200 {
			res, _ := f.do(t, "GET", "/", nil)
			got[res.Header.Get("X-Backend")]++
		}
		return got
	}
	if got := count(100, 0); got["stable"] != 200 {
		t.Errorf("100:0 gave %v", got)
	}
	// One share in 10^19 that all go one way.
	if got := count(50, 50); got["stable"] == 0 || got["canary"] == 0 {
		t.Errorf("50:50 gave %v", got)
	}
	if got := count(0, 1); got["canary"] != 200 {
		t.Errorf("0:1 gave %v", got)
	}
}

func TestRouteTimeout(t *testing.T) {
	leave := make(chan struct{})
	f := start(t, Options{}, "http1")
	addr := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/late" {
			io.WriteString(w, "begun")
			w.(http.Flusher).Flush()
		}
		select {
		case <-leave:
		case <-r.Context().Done():
		}
	})
	defer close(leave)
	f.Use(routed(&route.Action{Backends: []route.Weighted{{Backend: "slow", Weight: 1}}, Timeout: 50 * time.Millisecond}, map[string]string{"slow": addr}))
	for _, method := range []string{"GET", "POST"} {
		var body io.Reader
		if method == "POST" {
			body = strings.NewReader("x")
		}
		if res, text := f.do(t, method, "/", body); res.StatusCode != http.StatusGatewayTimeout || !strings.Contains(text, "did not answer in time") {
			t.Errorf("%s: %d %s", method, res.StatusCode, text)
		}
	}
	// An answer that has begun is broken off. One that was late to begin is
	// asked for again, with more time.
	for limit := 100 * time.Millisecond; ; limit *= 2 {
		f.Use(routed(&route.Action{Backends: []route.Weighted{{Backend: "slow", Weight: 1}}, Timeout: limit}, map[string]string{"slow": addr}))
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://app.localhost/late", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := f.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode == http.StatusGatewayTimeout && limit < 10*time.Second {
			continue
		}
		if res.StatusCode != http.StatusOK || err == nil {
			t.Errorf("the answer looks complete: %d %q", res.StatusCode, b)
		}
		break
	}
}

func TestMirror(t *testing.T) {
	type seen struct{ method, uri, body string }
	var mu sync.Mutex
	var all []seen
	hang := make(chan struct{})
	shadow := server(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		all = append(all, seen{r.Method, r.URL.RequestURI(), string(b)})
		mu.Unlock()
		<-hang // what it answers, and when, is of no interest
	})
	f := start(t, Options{}, "http1")
	f.Use(routed(&route.Action{
		Backends: []route.Weighted{{Backend: "one", Weight: 1}},
		Mirrors:  []route.Mirror{{Backend: "shadow", Numerator: 1, Denominator: 1}, {Backend: "shadow", Numerator: 0, Denominator: 100}},
	}, map[string]string{"one": teller(t, "one"), "shadow": shadow}))
	if res, body := f.do(t, "GET", "/a?b", nil); res.StatusCode != 200 || !strings.Contains(body, "GET app.localhost /a?b") {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if res, body := f.do(t, "POST", "/c", io.MultiReader(strings.NewReader("one"), strings.NewReader("two"))); res.StatusCode != 200 || !strings.HasSuffix(body, "|onetwo") {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	large := strings.Repeat("x", maxMirrorBody+1)
	if res, body := f.do(t, "POST", "/large", strings.NewReader(large)); res.StatusCode != 200 || !strings.HasSuffix(body, large) {
		t.Errorf("%d", res.StatusCode)
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		mu.Lock()
		n := len(all)
		mu.Unlock()
		if n == 2 && f.Stats().NotMirrored == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d copies, %+v", n, f.Stats())
		}
		time.Sleep(time.Millisecond)
	}
	close(hang)
	got := map[seen]bool{}
	for _, s := range all {
		got[s] = true
	}
	if !got[seen{"GET", "/a?b", ""}] || !got[seen{"POST", "/c", "onetwo"}] {
		t.Errorf("copies %+v", all)
	}
	// More at once than are allowed are left out, and hold nobody up.
	before := f.Stats().NotMirrored
	for idle := false; !idle; time.Sleep(time.Millisecond) {
		f.mirrors.mu.Lock()
		idle = f.mirrors.n == 0
		f.mirrors.mu.Unlock()
		if !idle && time.Now().After(deadline) {
			t.Fatal("the copies do not end")
		}
	}
	held := 0
	for f.mirrors.begin() {
		held++
	}
	if res, _ := f.do(t, "GET", "/", nil); res.StatusCode != 200 || f.Stats().NotMirrored != before+1 {
		t.Errorf("%d %+v", res.StatusCode, f.Stats())
	}
	for range held {
		f.mirrors.end()
	}
}

func TestUpgradeByHTTPRoute(t *testing.T) {
	f := start(t, Options{}, "http1")
	addr := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ws" || r.Header.Get("X-Add") != "yes" {
			t.Errorf("%s %v", r.URL, r.Header)
		}
		c, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		io.Copy(c, buf)
	})
	f.Use(routed(&route.Action{Backends: []route.Weighted{{Backend: "one", Weight: 1}}, Timeout: time.Millisecond,
		RequestHeaders: &route.HeaderEdit{Set: []route.NameValue{{Name: "X-Add", Value: "yes"}}},
		Rewrite:        &route.Rewrite{Path: &route.PathEdit{Prefix: "/app", Value: "/ws"}},
	}, map[string]string{"one": addr}))
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://app.localhost/app", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "echo")
	res, err := f.client.Transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	rw, ok := res.Body.(io.ReadWriteCloser)
	if !ok || res.StatusCode != 101 {
		t.Fatalf("%d", res.StatusCode)
	}
	defer rw.Close()
	time.Sleep(5 * time.Millisecond) // longer than the rule's timeout, which is not for these
	fmt.Fprintln(rw, "hello")
	if line, err := bufio.NewReader(rw).ReadString('\n'); err != nil || line != "hello\n" {
		t.Errorf("%q %v", line, err)
	}
}
