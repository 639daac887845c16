package render

import (
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// worker is one worker process, as the pool sees it.
type worker struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    io.ReadCloser
	stderr head
	served int
	expire *time.Timer // set while the worker is idle
}

func startWorker(cmd *exec.Cmd) (*worker, error) {
	w := &worker{cmd: cmd}
	cmd.Stderr = &w.stderr
	var err error
	if w.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if w.out, err = cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return w, nil
}

// ask sends a request and reads the answer.
func (w *worker) ask(req Request) (response, error) {
	if err := writeFrame(w.in, req, maxRequestBytes); err != nil {
		return response{}, err
	}
	b, err := readFrame(w.out, maxResponseBytes)
	if err != nil {
		return response{}, err
	}
	var resp response
	if err := decodeResponse(b, &resp); err != nil {
		return response{}, fmt.Errorf("read the answer: %w", err)
	}
	return resp, nil
}

func decodeResponse(b []byte, resp *response) error {
	var raw struct {
		Error   string            `json:"error"`
		Type    string            `json:"type"`
		Objects []json.RawMessage `json:"objects"`
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	resp.Error, resp.Type = raw.Error, raw.Type
	for _, o := range raw.Objects {
		found, err := decodeJSON(o) // whole numbers stay whole
		if err != nil {
			return err
		}
		for _, u := range found {
			resp.Objects = append(resp.Objects, u.Object)
		}
	}
	return nil
}

// kill stops the process; a read that waits for its answer ends.
func (w *worker) kill() { _ = w.cmd.Process.Kill() }

// end stops the process and waits for it. A worker that is not
// stuck ends by itself when its input does.
func (w *worker) end() {
	_ = w.in.Close()
	timer := time.AfterFunc(100*time.Millisecond, w.kill)
	defer timer.Stop()
	_ = w.cmd.Wait()
}

// crash says how a process that has ended in the middle of a request ended, or
// "" if it did so by its own decision. Out of memory has many forms: a Go
// program says so, or a signal ends it, or it stumbles over a page that it did
// not get.
func (w *worker) crash() string {
	if ws, ok := w.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return ws.Signal().String()
	}
	words := w.stderr.String()
	if !strings.Contains(words, "goroutine ") {
		return ""
	}
	first, _, _ := strings.Cut(words, "\n")
	return first
}

// head keeps the first bytes that are written to it: a Go program says first
// why it ends.
type head struct {
	mu sync.Mutex
	b  []byte
}

// Write keeps what fits and takes the rest.
func (t *head) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p[:min(len(p), 4096-len(t.b))]...)
	return len(p), nil
}

func (t *head) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.b))
}
