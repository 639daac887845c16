package build

import (
	"context"
	"io"
	"log/slog"

	"github.com/sirupsen/logrus" //nolint:depguard // what BuildKit and containerd log to
)

// quietLibraries sends what the client libraries of BuildKit and containerd
// log to log, as details. They write to logrus' standard logger, which would
// be our standard error, and offer no other way.
func quietLibraries(log *slog.Logger) {
	std := logrus.StandardLogger()
	std.SetOutput(io.Discard)
	std.ReplaceHooks(logrus.LevelHooks{})
	std.AddHook(toSlog{log})
}

type toSlog struct{ log *slog.Logger }

func (toSlog) Levels() []logrus.Level { return logrus.AllLevels }

func (h toSlog) Fire(e *logrus.Entry) error {
	ctx := e.Context
	if ctx == nil {
		ctx = context.Background()
	}
	h.log.DebugContext(ctx, "build client says", "text", e.Message)
	return nil
}
