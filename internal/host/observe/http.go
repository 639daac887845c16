package observe

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

type httpMetrics struct {
	seconds  *prometheus.HistogramVec
	inFlight prometheus.Gauge
}

// buckets go from what an answer from memory takes to what a clone takes.
var buckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

func newHTTPMetrics(r prometheus.Registerer) httpMetrics {
	m := httpMetrics{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "penstock_http_request_duration_seconds", Help: "Time until an answer was complete, by route, method and status; streams that stay open are in the route's duration.",
			Buckets: buckets,
		}, []string{"route", "method", "code"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "penstock_http_requests_in_flight", Help: "Requests being answered, streams that stay open among them."}),
	}
	r.MustRegister(m.seconds, m.inFlight)
	return m
}

type routeKey struct{}

// SetRoute names the route of the request in ctx, for those who know it: the
// pattern, never the path.
func SetRoute(ctx context.Context, pattern string) {
	if r, ok := ctx.Value(routeKey{}).(*string); ok {
		*r = pattern
	}
}

// HTTP counts and times the requests that h answers and makes a span of each.
// It calls a request what SetRoute said, else what route says.
func (o *Observer) HTTP(route func(*http.Request) string, h http.Handler) http.Handler {
	w3c := propagation.TraceContext{}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		var name string
		ctx := context.WithValue(r.Context(), routeKey{}, &name)
		var span trace.Span
		if o.Tracing() {
			ctx, span = o.tracer.Start(w3c.Extract(ctx, propagation.HeaderCarrier(r.Header)), r.Method, trace.WithSpanKind(trace.SpanKindServer))
		}
		s := &statusWriter{ResponseWriter: w}
		panics := true
		o.http.inFlight.Inc()
		defer func() {
			o.http.inFlight.Dec()
			if name == "" {
				name = route(r)
			}
			code := s.status()
			if panics {
				code = http.StatusInternalServerError
			}
			o.http.seconds.WithLabelValues(name, method(r.Method), strconv.Itoa(code)).Observe(time.Since(start).Seconds())
			if span == nil {
				return
			}
			span.SetName(method(r.Method) + " " + name)
			span.SetAttributes(attribute.String("http.request.method", r.Method), attribute.String("http.route", name), attribute.Int("http.response.status_code", code))
			if code >= 500 {
				span.SetStatus(codes.Error, http.StatusText(code))
			}
			span.End()
		}()
		h.ServeHTTP(s, r.WithContext(ctx))
		panics = false
	})
}

// method keeps what clients invent out of the labels.
func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return m
	}
	return "other"
}

// statusWriter remembers the status. Everything else is the writer's below.
type statusWriter struct {
	http.ResponseWriter
	code int
}

func (s *statusWriter) WriteHeader(code int) {
	if s.code == 0 && code >= 200 {
		s.code = code
	}
	s.ResponseWriter.WriteHeader(code)
}

func (s *statusWriter) Write(b []byte) (int, error) {
	if s.code == 0 {
		s.code = http.StatusOK
	}
	return s.ResponseWriter.Write(b)
}

func (s *statusWriter) status() int {
	if s.code == 0 {
		return http.StatusOK
	}
	return s.code
}

// Unwrap serves http.ResponseController.
func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// Flush is for those who ask for an http.Flusher.
func (s *statusWriter) Flush() { _ = http.NewResponseController(s.ResponseWriter).Flush() }
