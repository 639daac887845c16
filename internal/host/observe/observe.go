// Package observe is how Penstock tells about its own work: metrics in
// Prometheus's format and traces over OTLP. A process makes one [Observer] and
// hands its parts to the rooms; there is no global registry or tracer.
//
// Metrics have few series whatever people do: their labels are names of rooms,
// of routes and of outcomes, never of repositories, users or runs. Traces are
// only made when the standard OTEL_* environment says where they go.
package observe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/penstock-dev/penstock/internal/base/buildinfo"
	"github.com/penstock-dev/penstock/internal/base/problem"
)

// Options of an Observer.
type Options struct {
	Service string // "penstock-server"; OTEL_SERVICE_NAME wins
	Log     *slog.Logger
	Getenv  func(string) string // default os.Getenv
}

// Observer holds a process's metrics and its exporter of traces.
type Observer struct {
	registry *prometheus.Registry
	http     httpMetrics
	tracer   trace.Tracer
	exporter sdktrace.SpanExporter // nil: traces are not wanted
	resource *resource.Resource
	provider *sdktrace.TracerProvider
}

// New makes an Observer. Close it to send what is left.
func New(ctx context.Context, o Options) (*Observer, error) {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	ob := &Observer{registry: prometheus.NewRegistry(), tracer: noop.NewTracerProvider().Tracer("")}
	info := buildinfo.Get()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "penstock_build_info", Help: "1, with the version of this program.",
		ConstLabels: prometheus.Labels{"version": info.Version, "commit": info.Commit, "service": o.Service},
	})
	build.Set(1)
	ob.registry.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	ob.http = newHTTPMetrics(ob.registry)
	wanted, err := tracesWanted(o.Getenv)
	if err != nil || !wanted {
		return ob, err
	}
	if ob.exporter, err = otlptracehttp.New(ctx); err != nil {
		return nil, fmt.Errorf("make exporter of traces: %w", err)
	}
	ob.resource, err = resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", o.Service), attribute.String("service.version", info.Version)),
		resource.WithHost(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("describe this process for traces: %w", err)
	}
	if o.Log != nil {
		// The SDK has one place for what goes wrong while sending.
		otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { o.Log.Warn("cannot send traces", "error", err) }))
		otel.SetLogger(logr.FromSlogHandler(slog.DiscardHandler))
	}
	ob.provider = sdktrace.NewTracerProvider(sdktrace.WithBatcher(ob.exporter), sdktrace.WithResource(ob.resource))
	ob.tracer = ob.provider.Tracer(scope)
	return ob, nil
}

// scope is the name of the instrumentation in all spans.
const scope = "github.com/penstock-dev/penstock"

// tracesWanted reads the variables of the OpenTelemetry specification that say
// whether traces are sent, and refuses what this program does not speak.
func tracesWanted(getenv func(string) string) (bool, error) {
	set := func(name string) string { return strings.TrimSpace(getenv(name)) }
	if strings.EqualFold(set("OTEL_SDK_DISABLED"), "true") || set("OTEL_TRACES_EXPORTER") == "none" {
		return false, nil
	}
	if set("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
		return false, nil
	}
	if e := set("OTEL_TRACES_EXPORTER"); e != "" && e != "otlp" {
		return false, envError("OTEL_TRACES_EXPORTER", e, "otlp or none")
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if p := set(name); p != "" {
			if p != "http/protobuf" {
				return false, envError(name, p, "http/protobuf (port 4318 of a collector)")
			}
			break
		}
	}
	return true, nil
}

func envError(name, value, hint string) error {
	return &problem.Error{Op: "read", Subject: name, Err: fmt.Errorf("%q is not served: %w", value, problem.ErrInvalid), Hint: hint}
}

// Registry takes the metrics of rooms.
func (o *Observer) Registry() *prometheus.Registry { return o.registry }

// Tracer makes spans of what happens now; it does nothing when traces are not
// wanted.
func (o *Observer) Tracer() trace.Tracer { return o.tracer }

// Tracing says whether traces are sent.
func (o *Observer) Tracing() bool { return o.exporter != nil }

// Metrics serves them.
func (o *Observer) Metrics() http.Handler {
	return promhttp.HandlerFor(o.registry, promhttp.HandlerOpts{Registry: o.registry, MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

// Close sends what is left, for as long as ctx allows.
func (o *Observer) Close(ctx context.Context) error {
	if o.exporter == nil {
		return nil
	}
	// The provider ends the exporter, too.
	return errors.Join(o.provider.ForceFlush(ctx), o.provider.Shutdown(ctx))
}
