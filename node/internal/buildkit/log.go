//go:build linux

package buildkit

import (
	"context"
	"io"
	"log/slog"

	"github.com/sirupsen/logrus" //nolint:depguard // what BuildKit and containerd log to
)

// bridgeLogs sends what BuildKit and containerd's libraries log to log. They
// write to logrus' standard logger and offer no other way, so this is the one
// place that touches a global; the last server started gets the lines.
func bridgeLogs(log *slog.Logger) {
	std := logrus.StandardLogger()
	std.SetOutput(io.Discard)
	std.ReplaceHooks(logrus.LevelHooks{})
	std.AddHook(toSlog{log})
	level := logrus.ErrorLevel
	if log.Enabled(context.Background(), slog.LevelDebug) {
		level = logrus.InfoLevel
	}
	std.SetLevel(level)
}

type toSlog struct{ log *slog.Logger }

func (toSlog) Levels() []logrus.Level { return logrus.AllLevels }

// Fire maps levels down: what a library calls a warning is detail to us (each
// build has several), and its errors reach us as returned errors too. The text is a fact, not the
// message, so that messages stay constant.
func (h toSlog) Fire(e *logrus.Entry) error {
	level := slog.LevelDebug
	switch e.Level { //nolint:exhaustive // the rest is detail
	case logrus.PanicLevel, logrus.FatalLevel, logrus.ErrorLevel:
		level = slog.LevelWarn
	}
	ctx := e.Context
	if ctx == nil {
		ctx = context.Background()
	}
	args := make([]any, 0, 2+2*len(e.Data))
	args = append(args, "text", e.Message)
	for k, v := range e.Data {
		if err, ok := v.(error); ok {
			v = err.Error() // as a value it has a stack trace
		}
		args = append(args, k, v)
	}
	h.log.Log(ctx, level, "image builder says", args...)
	return nil
}
