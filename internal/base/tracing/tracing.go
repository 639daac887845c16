// Package tracing derives the ids of traces and spans from the names of what
// they are about. Whoever knows a CI run can name its trace without asking
// anybody: the server that exports it, the runner that hands the id of a step
// to the step, and the server that was started in between.
package tracing

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
)

// TraceID is that of the W3C's trace context.
type TraceID [16]byte

// SpanID is that of the W3C's trace context.
type SpanID [8]byte

func (t TraceID) String() string { return hex.EncodeToString(t[:]) }
func (s SpanID) String() string  { return hex.EncodeToString(s[:]) }

// Context names one span.
type Context struct {
	Trace TraceID
	Span  SpanID
}

// Parent is the context as a W3C traceparent of a trace that is recorded.
func (c Context) Parent() string { return "00-" + c.Trace.String() + "-" + c.Span.String() + "-01" }

// Child names a span of the same trace.
func (c Context) Child(parts ...string) Context {
	return Context{c.Trace, span(append([]string{c.Trace.String(), c.Span.String()}, parts...)...)}
}

// Run names the span of a CI run, which is the root of its own trace.
func Run(repo string, run int64, created time.Time) Context {
	return root("run", repo, strconv.FormatInt(run, 10), strconv.FormatInt(created.UnixNano(), 10))
}

// Job names the span of a job in the trace of its run.
func Job(run Context, key string) Context { return run.Child("job", key) }

// Step names the span of a step in the trace of its run.
func Step(job Context, number int) Context { return job.Child("step", strconv.Itoa(number)) }

// Push names the span of the push that brought a commit to a repository. Who
// knows the commit can name it: the run of it, the sync of it. A commit that is
// pushed to one more ref is the same span again.
func Push(repo, commit string) Context { return root("push", repo, commit) }

// Sync names the span of one sync of an Application.
func Sync(uid string, started time.Time) Context {
	return root("sync", uid, strconv.FormatInt(started.UnixNano(), 10))
}

func root(parts ...string) Context {
	sum := hash(parts...)
	c := Context{Trace: TraceID(sum[:16])}
	c.Span = span(c.Trace.String(), "root")
	return c
}

func span(parts ...string) SpanID {
	sum := hash(parts...)
	return SpanID(sum[:8])
}

func hash(parts ...string) [32]byte { return sha256.Sum256([]byte(strings.Join(parts, "\x00"))) }

// ParseParent reads what [Context.Parent] wrote. ok is false for anything else.
func ParseParent(s string) (c Context, ok bool) {
	parts := strings.Split(s, "-")
	if len(parts) != 4 || parts[0] != "00" || len(parts[1]) != 32 || len(parts[2]) != 16 || parts[3] != "01" || strings.ToLower(s) != s {
		return c, false
	}
	if _, err := hex.Decode(c.Trace[:], []byte(parts[1])); err != nil {
		return Context{}, false
	}
	if _, err := hex.Decode(c.Span[:], []byte(parts[2])); err != nil {
		return Context{}, false
	}
	return c, c.Trace != TraceID{} && c.Span != SpanID{}
}
