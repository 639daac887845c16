// Package logs brings what the linked programs log to the one writer of
// penstock-node, and makes it quiet: each of them was written to be alone in
// its process and tells its life.
package logs

import (
	"bytes"
	"context"
	"log"
	"log/slog"

	"github.com/sirupsen/logrus" //nolint:depguard // BuildKit and containerd log with it; it is only redirected
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
)

// Capture holds the loggers that are global to the process.
type Capture struct {
	held  *held
	outer *slog.Logger
}

// NewCapture redirects them to l. Unless l shows debugging, only warnings and
// errors pass; and while the node starts or stops, when each part complains
// that the others are not there, they are held back.
func NewCapture(l *slog.Logger) *Capture {
	c := &Capture{}
	l = l.With("component", "kubernetes")
	if l.Enabled(context.Background(), slog.LevelDebug) {
		c.outer = l
	} else {
		c.held = &held{ring: &ring{holding: true}, Handler: quiet{l.Handler()}}
		c.outer = slog.New(c.held)
	}
	c.Kubernetes()
	log.SetFlags(0)
	log.SetOutput(standard{c.outer}) // CoreDNS, net/http
	logrus.SetOutput(fixed{c.outer, slog.LevelWarn})
	logrus.SetLevel(logrus.WarnLevel)
	logrus.SetFormatter(&logrus.TextFormatter{DisableTimestamp: true, DisableColors: true})
	// Warnings for clients that use deprecated fields are for other clients
	// than our own parts.
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	return c
}

// Kubernetes takes the logger of the Kubernetes packages.
func (c *Capture) Kubernetes() { klog.SetSlogLogger(c.outer) }

// Settle says that the node is ready: from soon on everything passes.
func (c *Capture) Settle() {
	if c.held != nil {
		c.held.ring.settle()
	}
}

// Hold says that the node stops.
func (c *Capture) Hold() {
	if c.held != nil {
		c.held.ring.hold()
	}
}

// Replay writes what was held back, because the start failed.
func (c *Capture) Replay() {
	if c.held != nil {
		c.held.ring.replay()
	}
}

// Quiet returns a logger that drops what l's level would show of a chatty
// component: all below warnings, unless l shows debugging.
func Quiet(l *slog.Logger) *slog.Logger {
	if l.Enabled(context.Background(), slog.LevelDebug) {
		return l
	}
	return slog.New(quiet{l.Handler()})
}

// expected are messages at the level of errors about what is meant to be so.
var expected = map[string]string{
	"The manifest file is empty, ignoring.":                                                "no metrics label allow-list was given",
	"RuntimeConfig from runtime service failed":                                            "containerd before 2.0 does not have the call; the kubelet's own setting counts",
	"Running http and grpc server on single port. This is not recommended for production.": "nobody but the apiserver uses the socket",
	"Failed to detect schema version":                                                      "etcd looks before its first entry is there, and again later",
	"failed to update storage version":                                                     "the same",
	"apply request took too long":                                                          "a busy machine; the apiserver reports slow requests of its users",
	"Failed to set rlimit on max file handles":                                             "needs CAP_SYS_RESOURCE; the limit that is there was enough to start",
}

type quiet struct{ slog.Handler }

// Enabled implements slog.Handler.
func (h quiet) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && h.Handler.Enabled(ctx, l)
}

// Handle implements slog.Handler.
func (h quiet) Handle(ctx context.Context, r slog.Record) error {
	if _, ok := expected[r.Message]; ok {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h quiet) WithAttrs(a []slog.Attr) slog.Handler { return quiet{h.Handler.WithAttrs(a)} }

// WithGroup implements slog.Handler.
func (h quiet) WithGroup(name string) slog.Handler { return quiet{h.Handler.WithGroup(name)} }

// prefixes are the levels that CoreDNS writes in front of its lines.
var prefixes = []struct {
	text  string
	level slog.Level
}{{"[ERROR] ", slog.LevelError}, {"[FATAL] ", slog.LevelError}, {"[WARNING] ", slog.LevelWarn}}

// standard takes the lines of the standard logger.
type standard struct{ log *slog.Logger }

// Write implements io.Writer.
func (w standard) Write(b []byte) (int, error) {
	level, text := slog.LevelDebug, bytes.TrimSpace(b)
	for _, p := range prefixes {
		if rest, ok := bytes.CutPrefix(text, []byte(p.text)); ok {
			level, text = p.level, rest
		}
	}
	w.log.Log(context.Background(), level, string(text)) //nolint:sloglint // others' words
	return len(b), nil
}

// fixed gives all lines one level.
type fixed struct {
	log   *slog.Logger
	level slog.Level
}

// Write implements io.Writer.
func (w fixed) Write(b []byte) (int, error) {
	w.log.Log(context.Background(), w.level, string(bytes.TrimSpace(b))) //nolint:sloglint // others' words
	return len(b), nil
}
