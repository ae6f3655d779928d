package conformance

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"sync"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// clientLogs is what all clients log. That a trace was stored they tell nobody else.
var clientLogs clientLog

type clientLog struct {
	out *slog.Logger // nil: nothing is shown

	mu     sync.Mutex
	traces []string // bodies of traces that were acknowledged
}

// show has lines of the level and above printed, "debug" to "error"; empty: none.
func (l *clientLog) show(level string) error {
	if level == "" {
		return nil
	}
	var at slog.Level
	if err := at.UnmarshalText([]byte(level)); err != nil {
		return err
	}
	l.out = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: at}))
	return nil
}

func (l *clientLog) print(level slog.Level, msg string, fields map[string]any) {
	if l.out == nil || msg == "" && len(fields) == 0 || !l.out.Enabled(context.Background(), level) {
		return
	}
	l.out.Log(context.Background(), level, msg, "fields", fields)
}

func (l *clientLog) Debug(msg string, fields map[string]any) {
	if r, ok := fields["SendResult"].(*primitive.SendResult); ok && msg == "send trace data success:" && r.Status == primitive.SendOK && r.OffsetMsgID != "" {
		l.mu.Lock()
		l.traces = append(l.traces, fields["traceData"].(string))
		l.mu.Unlock()
	}
	l.print(slog.LevelDebug, msg, fields)
}

func (l *clientLog) Info(msg string, fields map[string]any)    { l.print(slog.LevelInfo, msg, fields) }
func (l *clientLog) Warning(msg string, fields map[string]any) { l.print(slog.LevelWarn, msg, fields) }
func (l *clientLog) Error(msg string, fields map[string]any)   { l.print(slog.LevelError, msg, fields) }
func (l *clientLog) Fatal(msg string, fields map[string]any)   { l.print(slog.LevelError, msg, fields) }
func (l *clientLog) Level(string)                              {}
func (l *clientLog) OutputPath(string) error                   { return nil }

func (l *clientLog) tracesStored() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.traces)
}
