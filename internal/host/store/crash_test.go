package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/penstock-dev/penstock/internal/base/failpoint"
	"github.com/penstock-dev/penstock/internal/host/store"
	"github.com/penstock-dev/penstock/internal/host/store/storetest"
)

const childEnv = "STORE_TEST_WRITE"

// TestMain lets this binary be the writer that dies.
func TestMain(m *testing.M) {
	if where := os.Getenv(childEnv); where != "" {
		if err := child(where); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child has several writers write numbers, each with an event, for ever. What
// was acknowledged is printed.
func child(where string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	db, err := store.Open(ctx, where)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	const writers = 8
	errs := make([]error, writers)
	for w := range int64(writers) {
		wg.Go(func() {
			for n := w; errs[w] == nil; n += writers {
				if errs[w] = record(ctx, db, n); errs[w] == nil {
					mu.Lock()
					fmt.Println(n)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// record writes n and the event about it.
func record(ctx context.Context, db *store.DB, n int64) error {
	return db.Write(ctx, func(tx store.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO t VALUES (?)`, n); err != nil {
			return err
		}
		id := strconv.FormatInt(n, 10)
		_, err := store.Append(ctx, tx, id, "number", id, time.Unix(n, 0), n)
		return err
	})
}

// recorded checks that each number in the store has its event, and returns
// them.
func (p place) recorded(db *store.DB) map[int64]bool {
	p.t.Helper()
	found := map[int64]bool{}
	for _, n := range p.numbers(db) {
		found[n] = true
	}
	events := 0
	if err := db.Read(p.t.Context(), func(q store.Queryer) error {
		list, err := store.EventsAfter(p.t.Context(), q, "number", 0, 1_000_000)
		for _, e := range list {
			n, err := strconv.ParseInt(e.ID, 10, 64)
			if err != nil || !found[n] {
				p.t.Errorf("event %s without its state", e.ID)
			}
		}
		events = len(list)
		return err
	}); err != nil {
		p.t.Fatal(err)
	}
	if events != len(found) {
		p.t.Errorf("%d events about %d numbers", events, len(found))
	}
	return found
}

// TestAKilledWriterLosesNothingAcknowledged kills a process with eight writers
// before and after a commit, several times in a row.
func TestAKilledWriterLosesNothingAcknowledged(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	each(t, func(t *testing.T, p place) {
		for _, point := range []string{"store.commit.before", "store.commit.after"} {
			t.Run(point, func(t *testing.T) {
				p := place{p.where, t}
				db := p.table()
				if err := db.Write(t.Context(), func(tx store.Tx) error {
					_, err := tx.ExecContext(t.Context(), `DELETE FROM t`)
					_, err2 := tx.ExecContext(t.Context(), `DELETE FROM events`)
					return errors.Join(err, err2)
				}); err != nil {
					t.Fatal(err)
				}
				db.Close()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				cmd := exec.CommandContext(ctx, self)
				cmd.Env = append(os.Environ(), childEnv+"="+p.where, failpoint.Env+"="+point+":30")
				var says, complains strings.Builder
				cmd.Stdout, cmd.Stderr = &says, &complains
				_ = cmd.Run()
				if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signal() != syscall.SIGKILL || ctx.Err() != nil {
					t.Fatalf("the writer ended with %v:\n%s", cmd.ProcessState, complains.String())
				}
				found := p.recorded(p.open())
				acknowledged := 0
				for line := range strings.Lines(says.String()) {
					n, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
					if err != nil {
						t.Fatal(err)
					}
					if acknowledged++; !found[n] {
						t.Errorf("%d was acknowledged and is lost", n)
					}
				}
				if acknowledged == 0 {
					t.Error("nothing was acknowledged, so this shows nothing")
				}
				t.Logf("%d acknowledged, %d recorded", acknowledged, len(found))
			})
		}
	})
}

// TestPostgresCrashes has the database recover under several writers.
func TestPostgresCrashes(t *testing.T) {
	storetest.Postgres(t) // skips when there is none
	server, err := storetest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	p := place{server.URL(""), t}
	db := p.table()
	ctx := t.Context()
	acknowledged := map[int64]bool{}
	var mu sync.Mutex
	stop := make(chan struct{})
	enough := make(chan struct{})
	var wg sync.WaitGroup
	const writers = 4
	for w := range int64(writers) {
		wg.Go(func() {
			for n := w; ; n += writers {
				select {
				case <-stop:
					return
				default:
				}
				if record(ctx, db, n) == nil {
					mu.Lock()
					acknowledged[n] = true
					if len(acknowledged) == 50 {
						close(enough)
					}
					mu.Unlock()
				}
			}
		})
	}
	<-enough
	if err := server.Crash(); err != nil {
		t.Fatal(err)
	}
	close(stop)
	wg.Wait()
	// The same store goes on: it connects again and still owns the database.
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		err := record(ctx, db, -1)
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after the crash: %v", err)
		}
	}
	found := p.recorded(db)
	for n := range acknowledged {
		if !found[n] {
			t.Errorf("%d was acknowledged and is lost", n)
		}
	}
}

// TestTwoServersNeverWriteToOnePostgres tries to open a database twice, and
// takes it from a server whose connection is lost.
func TestTwoServersNeverWriteToOnePostgres(t *testing.T) {
	server := storetest.Postgres(t)
	name := fmt.Sprintf("s%d", schemas.Add(1))
	where, err := server.Schema(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	store.SetHandOver(t, 200*time.Millisecond)
	first := place{where + "&application_name=" + name, t}
	db := first.table()
	ctx := t.Context()
	if _, err := store.Open(ctx, where); !errors.Is(err, store.ErrInUse) || !strings.Contains(err.Error(), "database postgres on ") {
		t.Fatalf("a second server: %v", err)
	}
	admin, err := pgx.Connect(ctx, server.URL(""))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(context.WithoutCancel(ctx))
	cut := func() {
		t.Helper()
		if _, err := admin.Exec(ctx, `SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = $1`, name); err != nil {
			t.Fatal(err)
		}
	}

	// A lost connection alone does no harm.
	cut()
	if err := insert(ctx, db, 1); err != nil {
		t.Errorf("after a lost connection: %v", err)
	}

	// A server that another one has replaced writes no more, not even when
	// that one is gone: what it remembers may not be true.
	store.SetHandOver(t, time.Minute)
	cut()
	second := place{where, t}.table()
	if err := insert(ctx, second, 2); err != nil {
		t.Fatal(err)
	}
	second.Close()
	for range 2 {
		if err := insert(ctx, db, 3); !errors.Is(err, store.ErrInUse) {
			t.Errorf("the first server wrote, or: %v", err)
		}
	}
	if got := first.numbers(db); len(got) != 2 {
		t.Errorf("left %v", got)
	}
}

// TestUnusableDatabases tells people what is wrong, and no password.
func TestUnusableDatabases(t *testing.T) {
	server := storetest.Postgres(t)
	for _, tc := range []struct{ where, want string }{
		{"postgres://u:hunter2@[::1/x", "cannot be read"},
		{"postgres://u:hunter2@localhost:1/x?connect_timeout=5", "open store database x on localhost"},
		{server.URL("absent") + "&password=hunter2", "no schema"},
		{strings.Replace(server.URL(""), "/postgres?", "/absent?", 1), `"absent" does not exist`},
		{t.TempDir(), "is a directory"},
	} {
		_, err := store.Open(t.Context(), tc.where)
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(fmt.Sprintf("%+v", err), "hunter2") {
			t.Errorf("%s: %v", tc.where, err)
		}
	}
}
