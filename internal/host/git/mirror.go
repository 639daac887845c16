package git

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// Mirror says how a repository follows an outside one.
type Mirror struct {
	URL       string        `json:"url"`
	Every     time.Duration `json:"every"`
	TriedAt   time.Time     `json:"triedAt,omitzero"`   // end of the last fetch
	FetchedAt time.Time     `json:"fetchedAt,omitzero"` // end of the last that succeeded
	Error     string        `json:"error,omitempty"`    // of the last fetch
	Fails     int           `json:"fails,omitempty"`    // in a row
}

const (
	// MinEvery is the shortest pause between two fetches of a mirror.
	MinEvery = 10 * time.Second
	maxEvery = 7 * 24 * time.Hour
	// maxBackoff bounds the pause before a mirror that fails is tried again,
	// unless its own is longer.
	maxBackoff = time.Hour
	// maxFetches bounds how many mirrors are fetched at a time.
	maxFetches = 4
)

// next is when the mirror is to be fetched again. Failures double the pause.
func (m Mirror) next() time.Time {
	pause := m.Every
	for range min(m.Fails-1, 20) {
		if pause >= maxBackoff {
			break
		}
		pause = min(2*pause, maxBackoff)
	}
	return m.TriedAt.Add(pause)
}

// CreateMirror makes a repository that follows r: it is fetched now and then
// every so often. It takes no pushes; what a fetch changes becomes push events
// of the actor "mirror". The first fetch makes none.
func (s *Server) CreateMirror(ctx context.Context, name string, r Remote, every time.Duration) (Repo, error) {
	if err := errors.Join(CheckName(name), r.check()); err != nil {
		return Repo{}, err
	}
	if every < MinEvery || every > maxEvery {
		return Repo{}, fmt.Errorf("a mirror is fetched every %v to %v, not every %v: %w", MinEvery, maxEvery, every, problem.ErrInvalid)
	}
	if s.exists(name) {
		return Repo{}, fmt.Errorf("repository %s: %w", name, problem.ErrExists)
	}
	m := Mirror{URL: r.URL, Every: every}
	_, err := s.create(ctx, name,
		func(dir string) error {
			if err := s.fetchAll(ctx, dir, r, nil); err != nil {
				return err
			}
			m.TriedAt, m.FetchedAt = s.now(), s.now()
			return s.keep(ctx, name, r)
		},
		func(tx store.Tx) error { return putMirror(ctx, tx, name, m) })
	if err != nil {
		if !s.exists(name) {
			err = errors.Join(err, s.secrets.Delete(context.WithoutCancel(ctx), credentialsOf(name)))
		}
		return Repo{}, fmt.Errorf("mirror %s: %w", name, err)
	}
	s.mirrors.set(name, m)
	return s.Get(ctx, name)
}

// StopMirror makes a mirror a repository of its own.
func (s *Server) StopMirror(ctx context.Context, name string) error {
	if s.mirrors.get(name) == nil {
		return fmt.Errorf("mirror %q: %w", name, problem.ErrNotFound)
	}
	err := s.db.Write(ctx, func(tx store.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM git_mirrors WHERE repo = $1`, name)
		return err
	})
	if err == nil {
		s.mirrors.remove(name)
		err = s.secrets.Delete(ctx, credentialsOf(name))
	}
	if err != nil {
		return fmt.Errorf("stop mirror %s: %w", name, err)
	}
	return nil
}

// SyncMirror fetches a mirror now.
func (s *Server) SyncMirror(ctx context.Context, name string) (Repo, error) {
	if s.mirrors.get(name) == nil {
		return Repo{}, fmt.Errorf("mirror %q: %w", name, problem.ErrNotFound)
	}
	release, err := s.mirrors.begin(ctx, name)
	if err != nil {
		return Repo{}, fmt.Errorf("mirror %s: %w", name, err)
	}
	defer release()
	if err := s.fetchMirror(ctx, name); err != nil {
		return Repo{}, fmt.Errorf("mirror %s: %w", name, err)
	}
	return s.Get(ctx, name)
}

// fetchMirror fetches, records what changed as pushes, and then how it went.
// Refs that a fetch has moved before it failed are recorded too.
func (s *Server) fetchMirror(ctx context.Context, name string) error {
	m := s.mirrors.get(name)
	if m == nil {
		return nil // stopped meanwhile
	}
	err := s.fetchInto(ctx, name, m.URL)
	if settleErr := s.settleMirror(ctx, name); settleErr != nil {
		s.later(name)
		err = errors.Join(err, settleErr)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	m.TriedAt = s.now()
	if err == nil {
		m.FetchedAt, m.Error, m.Fails = m.TriedAt, "", 0
		s.grew(name)
	} else {
		m.Error, m.Fails = oneLine(err.Error()), m.Fails+1
	}
	recordErr := s.db.Write(ctx, func(tx store.Tx) error {
		res, err := tx.ExecContext(ctx, `UPDATE git_mirrors SET tried = $1, fetched = $2, error = $3, fails = $4 WHERE repo = $5`,
			store.FormatTime(m.TriedAt), store.FormatTime(m.FetchedAt), m.Error, m.Fails, name)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, problem.ErrNotFound)
		}
		return nil
	})
	if errors.Is(recordErr, problem.ErrNotFound) {
		return err // stopped meanwhile
	}
	s.mirrors.update(name, *m)
	if recordErr != nil {
		return errors.Join(err, fmt.Errorf("record the state of mirror %s: %w", name, recordErr))
	}
	return err
}

func (s *Server) fetchInto(ctx context.Context, name, url string) error {
	r, err := s.remote(ctx, name, url)
	if err != nil {
		return err
	}
	used, err := s.shared(ctx, name)
	if err != nil {
		return err
	}
	defer used.Close()
	return s.fetchAll(ctx, s.dir(name), r, used)
}

func (s *Server) settleMirror(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	unlock, err := s.lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	return s.settle(ctx, name, mirrorActor)
}

// mirrorLoop fetches each mirror when it is due.
func (s *Server) mirrorLoop(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	slots := make(chan struct{}, maxFetches)
	for {
		name, wait := s.mirrors.due(s.now())
		if name == "" {
			timer := time.NewTimer(wait)
			select {
			case <-ctx.Done():
				timer.Stop()
				return
			case <-s.mirrors.changed:
				timer.Stop()
			case <-timer.C:
			}
			continue
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		release, ok := s.mirrors.tryBegin(name)
		if !ok {
			<-slots
			continue
		}
		running.Go(func() {
			defer func() { <-slots }()
			defer release()
			if err := s.fetchMirror(ctx, name); err != nil && ctx.Err() == nil {
				s.log.Warn("mirror is not fetched", "repo", name, "error", err)
			}
		})
	}
}

func putMirror(ctx context.Context, tx store.Tx, name string, m Mirror) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO git_mirrors (repo, url, seconds, tried, fetched, error, fails) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (repo) DO UPDATE SET url = excluded.url, seconds = excluded.seconds, tried = excluded.tried,
			fetched = excluded.fetched, error = excluded.error, fails = excluded.fails`,
		name, m.URL, int64(m.Every/time.Second), store.FormatTime(m.TriedAt), store.FormatTime(m.FetchedAt), m.Error, m.Fails)
	return err
}

func (s *Server) loadMirrors(ctx context.Context) error {
	err := s.db.Read(ctx, func(q store.Queryer) error {
		rows, err := q.QueryContext(ctx, `SELECT repo, url, seconds, tried, fetched, error, fails FROM git_mirrors`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var name, tried, fetched string
			var seconds int64
			var m Mirror
			if err := rows.Scan(&name, &m.URL, &seconds, &tried, &fetched, &m.Error, &m.Fails); err != nil {
				return err
			}
			m.Every = time.Duration(seconds) * time.Second
			if m.TriedAt, err = store.ParseTime(tried); err != nil {
				return err
			}
			if m.FetchedAt, err = store.ParseTime(fetched); err != nil {
				return err
			}
			s.mirrors.set(name, m)
		}
		return rows.Err()
	})
	if err != nil {
		return fmt.Errorf("read mirrors: %w", err)
	}
	return nil
}

// mirrors are the mirrors of a server and which of them is being fetched.
type mirrors struct {
	mu      sync.Mutex
	all     map[string]Mirror
	busy    map[string]chan struct{} // closed when the fetch has ended
	changed chan struct{}
}

func newMirrors() *mirrors {
	return &mirrors{all: map[string]Mirror{}, busy: map[string]chan struct{}{}, changed: make(chan struct{}, 1)}
}

// get returns a copy, nil for what is no mirror.
func (m *mirrors) get(name string) *Mirror {
	m.mu.Lock()
	defer m.mu.Unlock()
	if x, ok := m.all[name]; ok {
		return &x
	}
	return nil
}

func (m *mirrors) set(name string, x Mirror) {
	m.mu.Lock()
	m.all[name] = x
	m.mu.Unlock()
	poke(m.changed)
}

// update changes a mirror unless it was removed.
func (m *mirrors) update(name string, x Mirror) {
	m.mu.Lock()
	if _, ok := m.all[name]; ok {
		m.all[name] = x
	}
	m.mu.Unlock()
	poke(m.changed)
}

func (m *mirrors) remove(name string) {
	m.mu.Lock()
	delete(m.all, name)
	m.mu.Unlock()
}

// due returns a mirror that is to be fetched and is not being, or how long
// there is none.
func (m *mirrors) due(now time.Time) (name string, wait time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	wait = time.Hour
	for _, n := range slices.Sorted(maps.Keys(m.all)) {
		if m.busy[n] != nil {
			continue
		}
		left := m.all[n].next().Sub(now)
		if left <= 0 {
			return n, 0
		}
		wait = min(wait, left)
	}
	return "", wait
}

func (m *mirrors) tryBegin(name string) (release func(), ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.busy[name] != nil {
		return nil, false
	}
	done := make(chan struct{})
	m.busy[name] = done
	return func() {
		m.mu.Lock()
		delete(m.busy, name)
		m.mu.Unlock()
		close(done)
		poke(m.changed)
	}, true
}

// begin waits for a fetch under way.
func (m *mirrors) begin(ctx context.Context, name string) (release func(), err error) {
	for {
		release, ok := m.tryBegin(name)
		if ok {
			return release, nil
		}
		m.mu.Lock()
		done := m.busy[name]
		m.mu.Unlock()
		if done == nil {
			continue
		}
		select {
		case <-done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
