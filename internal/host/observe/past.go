package observe

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/penstock-dev/penstock/internal/base/tracing"
)

// Span is something that has ended, under a name of package tracing. It is
// sent as often as it is told of; a backend keeps it once, since the ids are
// the same.
type Span struct {
	Context    tracing.Context
	Parent     tracing.SpanID    // zero: the root of its trace
	Links      []tracing.Context // what made it happen, in other traces
	Name       string
	Began      time.Time
	Ended      time.Time
	Failed     string // why, when it failed
	Attributes []attribute.KeyValue
}

// Send exports spans of the past. It fails when the receiver does, so that the
// caller can try again.
func (o *Observer) Send(ctx context.Context, spans []Span) error {
	if o.exporter == nil || len(spans) == 0 {
		return nil
	}
	// The SDK makes spans of the present only, and its interface of a finished
	// one cannot be implemented elsewhere; the stubs are its own way to make
	// one.
	stubs := make(tracetest.SpanStubs, len(spans))
	for i, s := range spans {
		stub := tracetest.SpanStub{
			Name: s.Name, SpanContext: spanContext(s.Context), SpanKind: trace.SpanKindInternal,
			StartTime: s.Began, EndTime: s.Ended, Attributes: s.Attributes, Resource: o.resource,
			InstrumentationScope: instrumentation.Scope{Name: scope},
			Status:               sdktrace.Status{Code: codes.Ok},
		}
		if s.Parent != (tracing.SpanID{}) {
			stub.Parent = spanContext(tracing.Context{Trace: s.Context.Trace, Span: s.Parent})
		}
		if s.Failed != "" {
			stub.Status = sdktrace.Status{Code: codes.Error, Description: s.Failed}
		}
		for _, l := range s.Links {
			stub.Links = append(stub.Links, sdktrace.Link{SpanContext: spanContext(l)})
		}
		stubs[i] = stub
	}
	return o.exporter.ExportSpans(ctx, stubs.Snapshots())
}

func spanContext(c tracing.Context) trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID(c.Trace), SpanID: trace.SpanID(c.Span), TraceFlags: trace.FlagsSampled})
}
