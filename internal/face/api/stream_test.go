package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/ci/runs"
	"github.com/penstock-dev/penstock/internal/host/identity"
)

// rooms are what streams read in tests.
type rooms struct {
	feed *Feed

	mu     sync.Mutex
	runs   map[int64]runs.Run
	apps   map[string]Application
	events []Event
	rows   chan string // of the log of step 2 of job build of run 1
}

func newRooms() *rooms {
	return &rooms{feed: NewFeed(), runs: map[int64]runs.Run{}, apps: map[string]Application{}, rows: make(chan string, 100)}
}

func (r *rooms) Feed() *Feed { return r.feed }
func (r *rooms) Sources() Sources {
	return Sources{Runs: runRoom{r}, Applications: appRoom{r}, Events: eventRoom{r}}
}

func (r *rooms) setRun(run runs.Run) {
	r.mu.Lock()
	r.runs[run.ID] = run
	r.mu.Unlock()
	r.feed.Changed(KindRun, fmt.Sprint(run.ID))
}

func (r *rooms) setApp(a Application) {
	r.mu.Lock()
	r.apps[a.Namespace+"/"+a.Name] = a
	r.mu.Unlock()
	r.feed.Changed(KindApplication, a.Namespace+"/"+a.Name)
}

func (r *rooms) add(e Event) {
	r.mu.Lock()
	e.Seq = int64(len(r.events) + 1)
	r.events = append(r.events, e)
	r.mu.Unlock()
	r.feed.Changed(KindEvent, "")
}

type runRoom struct{ *rooms }

func (r runRoom) List(context.Context, runs.ListQuery) ([]runs.Run, error) { return nil, nil }
func (r runRoom) Cancel(context.Context, int64) error                      { return nil }
func (r runRoom) Summary(context.Context, int64) (string, error)           { return "", nil }
func (r runRoom) LogRows(context.Context, int64, string, int) (int64, bool, error) {
	return 0, false, nil
}

func (r runRoom) Get(_ context.Context, id int64) (runs.Run, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	run, ok := r.runs[id]
	if !ok {
		return run, problem.ErrNotFound
	}
	return run, nil
}

func (r runRoom) Logs(ctx context.Context, q runs.LogQuery, emit func(runs.LogLine) error) error {
	if q.Run != 1 || q.Job != "build" || q.Step != 2 || !q.Follow {
		return fmt.Errorf("asked for %+v", q)
	}
	for n := q.From; ; n++ {
		select {
		case text, ok := <-r.rows:
			if !ok {
				return nil
			}
			if err := emit(runs.LogLine{Job: q.Job, Step: q.Step, Row: n, Text: text}); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

type appRoom struct{ *rooms }

func (r appRoom) List(context.Context, identity.Principal, string) ([]Application, error) {
	return nil, nil
}

func (r appRoom) Sync(context.Context, identity.Principal, string, string, NewSync) (Asked, error) {
	return Asked{}, nil
}

func (r appRoom) Refresh(context.Context, identity.Principal, string, string, bool) error { return nil }

func (r appRoom) Get(_ context.Context, _ identity.Principal, namespace, name string) (Application, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, ok := r.apps[namespace+"/"+name]
	if !ok {
		return a, problem.ErrNotFound
	}
	return a, nil
}

type eventRoom struct{ *rooms }

func (r eventRoom) List(_ context.Context, q EventQuery) ([]Event, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Event
	for _, e := range r.events {
		if e.Seq > q.After && len(all) < q.Limit {
			all = append(all, e)
		}
	}
	return all, nil
}

func (r eventRoom) Last(context.Context) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return int64(len(r.events)), nil
}

// people lets "Bearer NAME" in; each sees the project of that name, ann all.
// Whose name is in gone is not known any more.
type people struct {
	mu   sync.Mutex
	gone map[string]bool
	down bool
}

type down struct{}

func (down) Error() string { return "down" }
func (down) Unavailable()  {}

func (p *people) Authenticate(r *http.Request) (identity.Principal, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	name, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || p.gone[name] {
		return identity.Principal{}, problem.ErrUnauthenticated
	}
	return identity.Principal{Name: name}, nil
}

func (p *people) Allow(_ context.Context, who identity.Principal, a identity.Action) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.down:
		return down{}
	case who.Name == "ann" || who.Name == a.Project:
		return nil
	}
	return problem.ErrForbidden
}

// message is one of a stream.
type message struct {
	id, event, data string
}

// reader reads a stream in the background.
type reader struct {
	t    *testing.T
	c    chan message
	last string
	end  context.CancelFunc
}

// follow opens a stream as a user. It may be refused.
func follow(t *testing.T, url, user, last string, topics ...string) (*reader, int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/api/v1/stream?topic="+strings.Join(topics, "&topic="), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+user)
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cancel)
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		cancel()
		return nil, resp.StatusCode
	}
	if ct := resp.Header.Get("Content-Type"); ct != "text/event-stream" {
		t.Errorf("content type %s", ct)
	}
	r := &reader{t: t, c: make(chan message, 1000), end: cancel}
	go func() {
		defer close(r.c)
		defer resp.Body.Close()
		var m message
		s := bufio.NewScanner(resp.Body)
		s.Buffer(nil, 16<<20)
		for s.Scan() {
			line := s.Text()
			switch k, v, _ := strings.Cut(line, ": "); {
			case line == "":
				if m.event != "" {
					r.c <- m
				}
				m = message{}
			case k == "id":
				m.id = v
			case k == "event":
				m.event = v
			case k == "data":
				m.data = v
			}
		}
	}()
	return r, resp.StatusCode
}

// next returns the next message of one of the kinds and fails when another one
// comes before it.
func (r *reader) next(kind string) map[string]any {
	r.t.Helper()
	select {
	case m, ok := <-r.c:
		if !ok {
			r.t.Fatalf("the stream ended before %s", kind)
		}
		if m.event != kind {
			r.t.Fatalf("%s %s, want %s", m.event, m.data, kind)
		}
		if m.id != "" {
			r.last = m.id
		}
		var v map[string]any
		if err := json.Unmarshal([]byte(m.data), &v); err != nil {
			r.t.Fatalf("%s %s: %v", m.event, m.data, err)
		}
		return v
	case <-time.After(30 * time.Second):
		r.t.Fatalf("no %s", kind)
	}
	return nil
}

// run returns status of the run that the next message tells.
func (r *reader) run() string {
	r.t.Helper()
	v := r.next("run")
	run, _ := v["run"].(map[string]any)
	jobs, _ := run["jobs"].([]any)
	return fmt.Sprint(v["topic"], " ", run["id"], " ", run["status"], " ", len(jobs))
}

func serveStream(t *testing.T, r *rooms, auth Authenticator) string {
	t.Helper()
	a := New()
	a.Stream(r)
	url, _ := serve(t, a.Handler(auth))
	return url
}

func TestStreamTellsWhatChanges(t *testing.T) {
	r := newRooms()
	url := serveStream(t, r, &people{})
	build := runs.Run{ID: 1, Repo: "demo/shop", Status: runs.Queued, Jobs: []runs.Job{{Key: "build"}}}
	r.setRun(build)
	r.add(Event{ID: "old", Project: "demo"})
	s, _ := follow(t, url, "ann", "", "runs", "run:1", "runs:demo/other", "applications", "application:argocd/shop", "events", "log:1/build/2")
	if got := s.run(); got != "run:1 1 queued 1" {
		t.Errorf("at the beginning: %s", got)
	}
	if v := s.next("gone"); v["name"] != "shop" {
		t.Errorf("an application that is not there: %v", v)
	}
	s.next("synced")
	build.Status = runs.InProgress
	r.setRun(build)
	if a, b := s.run(), s.run(); a != "runs 1 in_progress 0" || b != "run:1 1 in_progress 1" {
		t.Errorf("%s, %s", a, b)
	}
	r.setRun(runs.Run{ID: 2, Repo: "demo/other", Status: runs.Queued})
	if a, b := s.run(), s.run(); a != "runs 2 queued 0" || b != "runs:demo/other 2 queued 0" {
		t.Errorf("%s, %s", a, b)
	}
	r.setApp(Application{Namespace: "argocd", Name: "shop", Health: "Healthy", Resources: []AppResource{{Kind: "Service"}}})
	for _, want := range []struct {
		topic     string
		resources bool
	}{{"applications", false}, {"application:argocd/shop", true}} {
		v := s.next("application")
		app, _ := v["application"].(map[string]any)
		if _, has := app["resources"]; v["topic"] != want.topic || app["health"] != "Healthy" || has != want.resources {
			t.Errorf("want %s: %v", want.topic, v)
		}
	}
	r.mu.Lock()
	delete(r.apps, "argocd/shop")
	r.mu.Unlock()
	r.feed.Changed(KindApplication, "argocd/shop")
	s.next("gone")
	s.next("gone")
	r.add(Event{ID: "new", Project: "demo", Data: json.RawMessage(`{"a":"line\nbreak"}`)})
	if v := s.next("event"); v["event"].(map[string]any)["id"] != "new" {
		t.Errorf("%v", v)
	}
	r.rows <- "one"
	if v := s.next("rows"); fmt.Sprint(v["topic"], v["rows"]) != "log:1/build/2[map[row:0 text:one]]" {
		t.Errorf("%v", v)
	}
	close(r.rows)
	s.next("end")
}

// TestStreamGoesOnWhereItWas: a client that comes back hears what it missed,
// once, and rows of a log from the next one on.
func TestStreamGoesOnWhereItWas(t *testing.T) {
	r := newRooms()
	url := serveStream(t, r, &people{})
	r.setRun(runs.Run{ID: 1, Repo: "demo/shop", Status: runs.Queued})
	topics := []string{"runs", "run:1", "events", "log:1/build/2"}
	s, _ := follow(t, url, "ann", "", topics...)
	s.run()
	s.next("synced")
	for _, row := range []string{"one", "two"} {
		r.rows <- row
	}
	for seen := 0; seen < 2; {
		rows, _ := s.next("rows")["rows"].([]any)
		seen += len(rows)
	}
	s.end()
	for range s.c { // until it has ended on this side
		continue
	}
	waitUnfollowed(t, r.feed)
	r.setRun(runs.Run{ID: 1, Repo: "demo/shop", Status: runs.Completed})
	r.setRun(runs.Run{ID: 1, Repo: "demo/shop", Status: runs.Completed})
	r.add(Event{ID: "missed", Project: "demo"})
	r.rows <- "three"

	s2, _ := follow(t, url, "ann", s.last, topics...)
	if a, b := s2.run(), s2.run(); a != "runs 1 completed 0" || b != "run:1 1 completed 0" {
		t.Errorf("%s, %s", a, b)
	}
	if v := s2.next("event"); v["event"].(map[string]any)["id"] != "missed" {
		t.Errorf("%v", v)
	}
	s2.next("synced")
	if v := s2.next("rows"); fmt.Sprint(v["rows"]) != "[map[row:2 text:three]]" {
		t.Errorf("%v", v["rows"])
	}

	// A position of another server: what was missed is not known, except in
	// the event log.
	parts := strings.SplitN(s2.last, ".", 2)
	s3, _ := follow(t, url, "ann", "00000000."+parts[1], topics...)
	if v := s3.next("reset"); v["topic"] != "runs" {
		t.Errorf("%v", v)
	}
	s3.run()
	s3.next("synced")
	if _, code := follow(t, url, "ann", "nonsense", "runs"); code != http.StatusUnprocessableEntity {
		t.Errorf("a position that is none: %d", code)
	}
}

func waitUnfollowed(t *testing.T, f *Feed) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); f.Followed(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a stream that was left goes on")
		}
	}
}

func TestStreamTellsNobodyWhatIsNotTheirs(t *testing.T) {
	r := newRooms()
	p := &people{}
	url := serveStream(t, r, p)
	r.setRun(runs.Run{ID: 1, Repo: "demo/shop", Status: runs.Queued})
	for topic, want := range map[string]int{
		"run:1": 404, "log:1/build/2": 404, "run:7": 404, "runs:demo/shop": 403, "application:argocd/shop": 403,
		"": 422, "run:x": 422, "secrets": 422, "run:-1": 422, "log:1/build": 422, "runs:demo": 422,
	} {
		if _, code := follow(t, url, "bob", "", topic); code != want {
			t.Errorf("topic %q: %d, want %d", topic, code, want)
		}
	}
	bob, _ := follow(t, url, "bob", "", "runs", "events", "applications")
	bob.next("synced")
	r.setRun(runs.Run{ID: 1, Repo: "demo/shop", Status: runs.InProgress})
	r.setApp(Application{Namespace: "argocd", Name: "shop"})
	r.add(Event{ID: "demos", Project: "demo"})
	r.add(Event{ID: "nobodys"})
	r.add(Event{ID: "bobs", Project: "bob"})
	r.setRun(runs.Run{ID: 2, Repo: "bob/x", Status: runs.Queued})
	seen := map[string]bool{}
	for !seen["run"] || !seen["event"] {
		m := <-bob.c
		if seen[m.event] = true; !strings.Contains(m.data, "bob") {
			t.Errorf("bob hears %s %s", m.event, m.data)
		}
	}
	// Nothing is told while nobody can say who may: the stream ends.
	p.mu.Lock()
	p.down = true
	p.mu.Unlock()
	r.setRun(runs.Run{ID: 2, Repo: "bob/x", Status: runs.Completed})
	if v := bob.next("bye"); v["reason"] != "down" {
		t.Errorf("%v", v)
	}
	if _, ok := <-bob.c; ok {
		t.Error("it goes on")
	}
	if _, code := follow(t, url, "bob", "", "runs:bob/x"); code != http.StatusServiceUnavailable {
		t.Errorf("without a cluster: %d", code)
	}
}

// TestManyChangesAreOneLook: what waits for a client is bounded by how many
// things changed, not by how often.
func TestManyChangesAreOneLook(t *testing.T) {
	f := NewFeed()
	l := f.listen()
	for range 100 {
		for n := range 50 {
			f.Changed(KindRun, fmt.Sprint(n))
		}
	}
	list, seq, lost := l.take()
	if len(list) != 50 || seq != 5000 || lost {
		t.Errorf("%d things, number %d, lost %t", len(list), seq, lost)
	}
	if l2 := f.listen(); !l2.since(f.epoch, seq) {
		t.Error("nothing was missed, and it is not known")
	} else if list, _, _ := l2.take(); len(list) != 0 {
		t.Errorf("%d things", len(list))
	}
	l3 := f.listen()
	if l3.since(f.epoch, seq-feedKeeps) || l3.since(f.epoch, seq+1) || l3.since("other", seq) {
		t.Error("more is known than is kept")
	}
	if !l3.since(f.epoch, seq-feedKeeps+1) {
		t.Error("less is known than is kept")
	}
	for n := range maxDirty + 1 {
		f.Changed(KindRun, fmt.Sprint(n))
	}
	if list, _, lost := l.take(); !lost || len(list) > 0 {
		t.Errorf("%d things, lost %t", len(list), lost)
	}
	l.close()
	f.Changed(KindRun, "1")
	if list, _, _ := l.take(); len(list) > 0 {
		t.Error("it listens on")
	}
}

// TestSessionThatEndsEndsItsStream and a user has so many of them.
func TestStreamsAreCounted(t *testing.T) {
	r := newRooms()
	url := serveStream(t, r, &people{})
	var open []*reader
	for range perCaller {
		s, code := follow(t, url, "ann", "", "events")
		if s == nil {
			t.Fatalf("%d", code)
		}
		s.next("synced")
		open = append(open, s)
	}
	if _, code := follow(t, url, "ann", "", "events"); code != http.StatusTooManyRequests {
		t.Errorf("one too many: %d", code)
	}
	if s, code := follow(t, url, "bob", "", "events"); s == nil {
		t.Errorf("somebody else: %d", code)
	}
	open[0].end()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if s, _ := follow(t, url, "ann", "", "events"); s != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a stream that was left counts")
		}
	}
}

func TestPositionsRoundTrip(t *testing.T) {
	for _, p := range []position{
		{epoch: "0123abcd"},
		{epoch: "0123abcd", seq: 7, event: 8, rows: []int64{1, 2, 3, 4, 5}},
	} {
		got, err := parsePosition(p.String())
		if err != nil || got.String() != p.String() || !slices.Equal(got.rows, p.rows) {
			t.Errorf("%s: %+v, %v", p, got, err)
		}
	}
}

func FuzzTopic(f *testing.F) {
	for _, s := range []string{"runs", "runs:demo/shop", "run:1", "log:1/build/2", "applications", "application:argocd/shop", "events", "run:01", "log:9/../1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tp, err := parseTopic(s)
		if err != nil {
			return
		}
		if tp.text != s || strings.ContainsAny(s, "\r\n\x00") || tp.kind == "log" && (tp.run < 1 || tp.step < 1 || strings.ContainsAny(tp.job, "/.")) {
			t.Errorf("%q: %+v", s, tp)
		}
	})
}

func FuzzPosition(f *testing.F) {
	f.Add("0123abcd.1.2")
	f.Add("0123abcd.1.2.3.4")
	f.Add("....")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePosition(s)
		if err == nil && (p.seq < 0 || p.event < 0 || len(p.rows) > maxLogs) {
			t.Errorf("%q: %+v", s, p)
		}
	})
}
