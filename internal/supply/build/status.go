package build

import (
	"sync"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
)

// Status is what happened in a build since the status before.
type Status struct {
	Steps    []Step    `json:"steps,omitempty"`
	Tasks    []Task    `json:"tasks,omitempty"`
	Logs     []Log     `json:"logs,omitempty"`
	Warnings []Warning `json:"warnings,omitempty"`
	// Notice is about the build as a whole: that the builder is waited for.
	Notice string `json:"notice,omitempty"`
}

// Step is one step of the build: an instruction of the Dockerfile, or
// something around it. It is reported whenever it changes.
type Step struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"` // "[build 2/3] RUN make"
	Inputs    []string   `json:"inputs,omitempty"`
	Started   *time.Time `json:"started,omitempty"`
	Completed *time.Time `json:"completed,omitempty"`
	Cached    bool       `json:"cached,omitempty"`
	Error     string     `json:"error,omitempty"`
}

// Task is a part of a step with a measure: bytes of a layer.
type Task struct {
	ID        string     `json:"id"`
	Step      string     `json:"step"`
	Name      string     `json:"name,omitempty"`
	Current   int64      `json:"current"`
	Total     int64      `json:"total,omitempty"`
	At        time.Time  `json:"at"`
	Started   *time.Time `json:"started,omitempty"`
	Completed *time.Time `json:"completed,omitempty"`
}

// Log is output of a step; its chunks end anywhere, not only at line ends.
type Log struct {
	Step   string    `json:"step"`
	Stream int       `json:"stream"` // 1 is standard output, 2 standard error
	Data   []byte    `json:"data"`
	At     time.Time `json:"at"`
}

// Warning is what the Dockerfile's checks found.
type Warning struct {
	Step string `json:"step,omitempty"`
	Text string `json:"text"`
	URL  string `json:"url,omitempty"`
}

// fromSolve copies what BuildKit reports.
func fromSolve(in *client.SolveStatus) Status {
	var out Status
	for _, v := range in.Vertexes {
		s := Step{ID: v.Digest.String(), Name: v.Name, Started: v.Started, Completed: v.Completed, Cached: v.Cached, Error: v.Error}
		for _, d := range v.Inputs {
			s.Inputs = append(s.Inputs, d.String())
		}
		out.Steps = append(out.Steps, s)
	}
	for _, t := range in.Statuses {
		out.Tasks = append(out.Tasks, Task{ID: t.ID, Step: t.Vertex.String(), Name: t.Name, Current: t.Current, Total: t.Total, At: t.Timestamp, Started: t.Started, Completed: t.Completed})
	}
	for _, l := range in.Logs {
		out.Logs = append(out.Logs, Log{Step: l.Vertex.String(), Stream: l.Stream, Data: l.Data, At: l.Timestamp})
	}
	for _, w := range in.Warnings {
		out.Warnings = append(out.Warnings, Warning{Step: w.Vertex.String(), Text: string(w.Short), URL: w.URL})
	}
	return out
}

// toSolve is the way back, for BuildKit's displays.
func toSolve(in Status) *client.SolveStatus {
	out := &client.SolveStatus{}
	for _, s := range in.Steps {
		v := &client.Vertex{Digest: digest.Digest(s.ID), Name: s.Name, Started: s.Started, Completed: s.Completed, Cached: s.Cached, Error: s.Error}
		for _, i := range s.Inputs {
			v.Inputs = append(v.Inputs, digest.Digest(i))
		}
		out.Vertexes = append(out.Vertexes, v)
	}
	for _, t := range in.Tasks {
		out.Statuses = append(out.Statuses, &client.VertexStatus{ID: t.ID, Vertex: digest.Digest(t.Step), Name: t.Name, Current: t.Current, Total: t.Total, Timestamp: t.At, Started: t.Started, Completed: t.Completed})
	}
	for _, l := range in.Logs {
		out.Logs = append(out.Logs, &client.VertexLog{Vertex: digest.Digest(l.Step), Stream: l.Stream, Data: l.Data, Timestamp: l.At})
	}
	for _, w := range in.Warnings {
		out.Warnings = append(out.Warnings, &client.VertexWarning{Vertex: digest.Digest(w.Step), Short: []byte(w.Text), URL: w.URL})
	}
	return out
}

// watch counts steps on the way to the caller's function, and keeps calls to
// it one after another.
type watch struct {
	mu       sync.Mutex
	report   func(Status)
	state    map[string]bool // step -> taken from the cache
	restarts int
}

func newWatch(report func(Status)) *watch {
	if report == nil {
		report = func(Status) {}
	}
	return &watch{report: report, state: map[string]bool{}}
}

func (w *watch) see(s Status) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, st := range s.Steps {
		if st.Completed != nil {
			w.state[st.ID] = st.Cached
		}
	}
	w.report(s)
}

func (w *watch) notice(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.report(Status{Notice: text})
}

// restart forgets the steps of an attempt that was lost.
func (w *watch) restart(text string) {
	w.mu.Lock()
	clear(w.state)
	w.restarts++
	w.mu.Unlock()
	w.notice(text)
}

// counts returns how many steps completed, and how many of them came from the
// cache.
func (w *watch) counts() (steps, cached int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.state {
		steps++
		if c {
			cached++
		}
	}
	return steps, cached
}
