package etcd

import (
	"context"
	"log/slog"
	"sync/atomic"

	"go.uber.org/zap/zapcore"
)

// core sends etcd's log entries to slog, from warnings on. While etcd stops it
// reports each of its own closed listeners as an error; those are dropped.
type core struct {
	log      *slog.Logger
	stopping *atomic.Bool
	with     []any
}

func newCore(log *slog.Logger, stopping *atomic.Bool) zapcore.Core {
	return core{log: log, stopping: stopping}
}

// Enabled implements zapcore.Core.
func (c core) Enabled(l zapcore.Level) bool {
	return l >= zapcore.WarnLevel && !c.stopping.Load() && c.log.Enabled(context.Background(), level(l))
}

// With implements zapcore.Core.
func (c core) With(fields []zapcore.Field) zapcore.Core {
	return core{c.log, c.stopping, append(append([]any{}, c.with...), attrs(fields)...)}
}

// Check implements zapcore.Core.
func (c core) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write implements zapcore.Core.
func (c core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	c.log.Log(context.Background(), level(e.Level), e.Message, append(append([]any{}, c.with...), attrs(fields)...)...) //nolint:sloglint // etcd's words
	return nil
}

// Sync implements zapcore.Core.
func (core) Sync() error { return nil }

func level(l zapcore.Level) slog.Level {
	switch {
	case l >= zapcore.ErrorLevel:
		return slog.LevelError
	case l == zapcore.WarnLevel:
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

func attrs(fields []zapcore.Field) []any {
	m := zapcore.NewMapObjectEncoder()
	var out []any
	for _, f := range fields {
		f.AddTo(m)
		out = append(out, slog.Any(f.Key, m.Fields[f.Key]))
	}
	return out
}
