package app

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// TestObserveScripts runs scripts against a server that sends its traces to a
// receiver of OTLP over HTTP, which refuses the first run that it is told of.
// "span NAME" waits for a span; "under NAME NAME" and "linked NAME NAME" say how
// two hang together; "gets PATH [PUT] REGEXP" asks the server, "asks" its admin
// socket.
func TestObserveScripts(t *testing.T) {
	p := serverParams("testdata/observe")
	setup := p.Setup
	p.Setup = func(e *testscript.Env) error {
		r := &receiver{}
		srv := httptest.NewServer(r)
		e.Defer(srv.Close)
		e.Values[receiverKey{}] = r
		e.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", srv.URL)
		e.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=canary-secret")
		e.Setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
		return setup(e)
	}
	of := func(ts *testscript.TestScript) *receiver { return ts.Value(receiverKey{}).(*receiver) }
	p.Cmds["span"] = func(ts *testscript.TestScript, _ bool, args []string) { of(ts).find(ts, args[0]) }
	p.Cmds["under"] = func(ts *testscript.TestScript, _ bool, args []string) {
		child, parent := of(ts).find(ts, args[0]), of(ts).find(ts, args[1])
		if string(child.TraceId) != string(parent.TraceId) || string(child.ParentSpanId) != string(parent.SpanId) {
			ts.Fatalf("%s is not under %s", child.Name, parent.Name)
		}
		if child.StartTimeUnixNano < parent.StartTimeUnixNano || child.EndTimeUnixNano < child.StartTimeUnixNano {
			ts.Fatalf("%s began at %d, %s at %d", child.Name, child.StartTimeUnixNano, parent.Name, parent.StartTimeUnixNano)
		}
	}
	p.Cmds["linked"] = func(ts *testscript.TestScript, _ bool, args []string) {
		from, to := of(ts).find(ts, args[0]), of(ts).find(ts, args[1])
		for _, l := range from.Links {
			if string(l.TraceId) == string(to.TraceId) && string(l.SpanId) == string(to.SpanId) {
				return
			}
		}
		ts.Fatalf("%s is not linked to %s", from.Name, to.Name)
	}
	p.Cmds["ids"] = func(ts *testscript.TestScript, _ bool, args []string) {
		s := of(ts).find(ts, args[0])
		ts.Setenv(args[1], "00-"+hex.EncodeToString(s.TraceId)+"-"+hex.EncodeToString(s.SpanId)+"-01")
	}
	ask := func(network string) func(*testscript.TestScript, bool, []string) {
		return func(ts *testscript.TestScript, neg bool, args []string) {
			addr := ts.Getenv("LISTEN")
			if network == "unix" {
				addr = filepath.Join(ts.Getenv("PENSTOCK_DATA_DIR"), "run", "server.sock")
			}
			got := request(ts, network, addr, args[0], args[1:len(args)-1]...)
			if found := regexp.MustCompile(args[len(args)-1]).MatchString(got); found == neg {
				ts.Fatalf("%s answers\n%s", args[0], got)
			}
		}
	}
	p.Cmds["gets"], p.Cmds["asks"] = ask("tcp"), ask("unix")
	testscript.Run(t, p)
}

// request makes a GET, or a PUT of a text, and returns status and body.
func request(ts *testscript.TestScript, network, addr, path string, put ...string) string {
	c := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}}}
	method := http.MethodGet
	if len(put) > 0 {
		method = http.MethodPut
	}
	req, err := http.NewRequest(method, "http://penstock.localhost"+path, strings.NewReader(strings.Join(put, "")))
	ts.Check(err)
	resp, err := c.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	ts.Check(err)
	return resp.Status + "\n" + string(b)
}

type receiverKey struct{}

// receiver takes traces as a collector does.
type receiver struct {
	mu      sync.Mutex
	refused bool
	spans   []*tracev1.Span
	wrong   []string
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var body io.Reader = q.Body
	if q.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = z
	}
	b, err := io.ReadAll(io.LimitReader(body, 16<<20))
	var in collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(b, &in)
	}
	if err != nil || q.URL.Path != "/v1/traces" || q.Header.Get("Authorization") != "canary-secret" {
		r.wrong = append(r.wrong, fmt.Sprint(q.Method, q.URL, err))
		http.Error(w, "not a trace", http.StatusBadRequest)
		return
	}
	if !r.refused && bytes.Contains(b, []byte("run CI")) { // what cannot be delivered is delivered later
		r.refused = true
		http.Error(w, "not now", http.StatusBadRequest)
		return
	}
	for _, rs := range in.ResourceSpans {
		service := ""
		for _, a := range rs.Resource.Attributes {
			if a.Key == "service.name" {
				service = a.Value.GetStringValue()
			}
		}
		if service != "penstock-server" {
			r.wrong = append(r.wrong, "service.name "+service)
		}
		for _, ss := range rs.ScopeSpans {
			r.spans = append(r.spans, ss.Spans...)
		}
	}
	out, err := proto.Marshal(&collector.ExportTraceServiceResponse{})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write(out)
}

// find waits for the span with this name.
func (r *receiver) find(ts *testscript.TestScript, name string) *tracev1.Span {
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		r.mu.Lock()
		var names []string
		for _, s := range r.spans {
			if s.Name == name {
				r.mu.Unlock()
				return s
			}
			names = append(names, s.Name)
		}
		wrong := r.wrong
		r.mu.Unlock()
		if time.Now().After(deadline) || len(wrong) > 0 {
			ts.Fatalf("no span %q came, but %q; wrong: %q", name, names, wrong)
		}
	}
}
