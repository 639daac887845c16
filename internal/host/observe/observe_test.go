package observe

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

func TestTracesWanted(t *testing.T) {
	for _, c := range []struct {
		env  string // NAME=value, separated by blanks
		want bool
		err  bool
	}{
		{"", false, false},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://x:4318", true, false},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://x:4318/v1/traces", true, false},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://x OTEL_SDK_DISABLED=TRUE", false, false},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://x OTEL_TRACES_EXPORTER=none", false, false},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://x OTEL_TRACES_EXPORTER=otlp", true, false},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://x OTEL_TRACES_EXPORTER=zipkin", false, true},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://x OTEL_EXPORTER_OTLP_PROTOCOL=grpc", false, true},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://x OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf OTEL_EXPORTER_OTLP_PROTOCOL=grpc", true, false},
		{"OTEL_EXPORTER_OTLP_PROTOCOL=grpc", false, false}, // nowhere to send anything
	} {
		env := map[string]string{}
		for _, kv := range strings.Fields(c.env) {
			k, v, _ := strings.Cut(kv, "=")
			env[k] = v
		}
		got, err := tracesWanted(func(k string) string { return env[k] })
		if got != c.want || (err != nil) != c.err || err != nil && !errors.Is(err, problem.ErrInvalid) {
			t.Errorf("%s: %v, %v", c.env, got, err)
		}
	}
}

func TestRequestsAreCountedByRoute(t *testing.T) {
	o, err := New(t.Context(), Options{Service: "test", Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	if o.Tracing() {
		t.Error("nobody wants traces")
	}
	h := o.HTTP(func(*http.Request) string { return "/elsewhere" }, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/runs/7":
			SetRoute(r.Context(), "/runs/{id}")
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
		case "/gone":
			http.NotFound(w, r)
		case "/early":
			w.WriteHeader(http.StatusEarlyHints)
			_, _ = io.WriteString(w, "x")
		case "/panics":
			panic(http.ErrAbortHandler)
		}
	}))
	for _, r := range [][2]string{{"GET", "/runs/7"}, {"GET", "/runs/7"}, {"GET", "/gone"}, {"BREW", "/early"}, {"GET", "/panics"}} {
		func() {
			defer func() { _ = recover() }()
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(r[0], r[1], nil))
		}()
	}
	SetRoute(context.Background(), "/nowhere") // without the handler around it
	w := httptest.NewRecorder()
	o.Metrics().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`penstock_http_request_duration_seconds_count{code="200",method="GET",route="/runs/{id}"} 2`,
		`penstock_http_request_duration_seconds_count{code="404",method="GET",route="/elsewhere"} 1`,
		`penstock_http_request_duration_seconds_count{code="200",method="other",route="/elsewhere"} 1`,
		`penstock_http_request_duration_seconds_count{code="500",method="GET",route="/elsewhere"} 1`,
		"penstock_http_requests_in_flight 0",
		"penstock_build_info{",
		"go_goroutines ",
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if strings.Contains(w.Body.String(), "/runs/7") {
		t.Error("a path is a label: one series for each run")
	}
}
