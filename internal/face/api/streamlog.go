package api

import (
	"context"

	"github.com/penstock-dev/penstock/internal/ci/runs"
)

// logRows are rows of a log; without any it is the end.
type logRows struct {
	log  int // which of the stream's
	rows []Row
	next int64
	err  error
}

// Row is one row of a step's log.
type Row struct {
	Row  int64  `json:"row" doc:"in the step, from 0"`
	Text string `json:"text" doc:"time, blank, text"`
}

type rowsMessage struct {
	Topic string `json:"topic"`
	Rows  []Row  `json:"rows"`
}

// readLog hands the rows of a step's log out, at the pace of the client.
func (t *stream) readLog(ctx context.Context, i int, tp topic, out chan<- logRows) {
	from := t.at.rows[i]
	send := func(r logRows) error {
		select {
		case out <- r:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	// Rows that come quickly go out together; the reader of the log is not
	// stopped for each.
	lines := make(chan runs.LogLine, rowBatch)
	ended := make(chan error, 1)
	go func() {
		defer close(lines)
		ended <- t.from.Runs.Logs(ctx, runs.LogQuery{Run: tp.run, Job: tp.job, Step: tp.step, From: from, Follow: true}, func(l runs.LogLine) error {
			select {
			case lines <- l:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	for l := range lines {
		batch := logRows{log: i, rows: []Row{{l.Row, l.Text}}, next: l.Row + 1}
		size := len(l.Text)
		for more := true; more && len(batch.rows) < rowBatch && size < 64<<10; {
			select {
			case l, ok := <-lines:
				if !ok {
					more = false
					break
				}
				batch.rows = append(batch.rows, Row{l.Row, l.Text})
				batch.next = l.Row + 1
				size += len(l.Text)
			default:
				more = false
			}
		}
		if send(batch) != nil {
			cancelled(lines)
			break
		}
	}
	if err := <-ended; ctx.Err() == nil {
		_ = send(logRows{log: i, err: err})
	}
}

// cancelled lets a producer end that was told to.
func cancelled(lines <-chan runs.LogLine) {
	for range lines {
		continue
	}
}

func (t *stream) tellRows(r logRows) error {
	tp := t.logs[r.log]
	if len(r.rows) == 0 {
		m := map[string]string{"topic": tp.text}
		if r.err != nil {
			m["error"] = r.err.Error()
		}
		return t.tell("end", m)
	}
	t.at.rows[r.log] = r.next
	return t.tell("rows", rowsMessage{tp.text, r.rows})
}
