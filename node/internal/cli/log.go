package cli

import (
	"context"
	"log/slog"

	"github.com/sirupsen/logrus"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
)

// captureLogs sends what the linked programs log to our one writer. Each is
// made quiet in its own way: Kubernetes writes much at the level that it calls
// information, so only its warnings and errors pass, unless we debug.
func captureLogs(log *slog.Logger) {
	debug := log.Enabled(context.Background(), slog.LevelDebug)
	// klog calls with a structured logger lose the difference between
	// information and warning; errors stay errors.
	h := slog.Handler(log.With("component", "kubernetes").Handler())
	if !debug {
		h = atLeast{h, slog.LevelWarn}
	}
	klog.SetSlogLogger(slog.New(h))
	// CoreDNS, etcd's gRPC and others use the standard logger.
	slog.SetDefault(slog.New(h))
	logrus.SetOutput(writer{slog.New(h)})
	logrus.SetLevel(logrus.WarnLevel)
	// Warnings for clients that use deprecated fields are for other clients
	// than our own parts.
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
}

// atLeast drops what is below a level.
type atLeast struct {
	slog.Handler
	level slog.Level
}

// Enabled implements slog.Handler.
func (h atLeast) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= h.level && h.Handler.Enabled(ctx, l)
}

// WithAttrs implements slog.Handler.
func (h atLeast) WithAttrs(a []slog.Attr) slog.Handler {
	return atLeast{h.Handler.WithAttrs(a), h.level}
}

// WithGroup implements slog.Handler.
func (h atLeast) WithGroup(name string) slog.Handler {
	return atLeast{h.Handler.WithGroup(name), h.level}
}

// writer turns lines into warnings.
type writer struct{ log *slog.Logger }

// Write implements io.Writer.
func (w writer) Write(b []byte) (int, error) {
	n := len(b)
	for n > 0 && b[n-1] == '\n' {
		n--
	}
	w.log.Warn(string(b[:n]))
	return len(b), nil
}
