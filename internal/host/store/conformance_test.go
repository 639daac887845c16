package store_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/host/store"
	"github.com/penstock-dev/penstock/internal/host/store/storetest"
)

// place is where a store is kept.
type place struct {
	where string
	t     *testing.T
}

var schemas atomic.Int64

// each runs test over an empty place of every database.
func each(t *testing.T, test func(t *testing.T, p place)) {
	t.Run("sqlite", func(t *testing.T) {
		test(t, place{filepath.Join(t.TempDir(), "a db?%.sqlite"), t})
	})
	t.Run("postgres", func(t *testing.T) {
		where, err := storetest.Postgres(t).Schema(t.Context(), fmt.Sprintf("s%d", schemas.Add(1)))
		if err != nil {
			t.Fatal(err)
		}
		test(t, place{where, t})
	})
}

func (p place) open() *store.DB {
	p.t.Helper()
	db, err := store.Open(p.t.Context(), p.where)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { db.Close() })
	return db
}

// table opens a store with a table t of one column n.
func (p place) table() *store.DB {
	p.t.Helper()
	db := p.open()
	if err := db.Migrate(p.t.Context(), "room", []string{`CREATE TABLE t (n INTEGER NOT NULL UNIQUE) STRICT`}); err != nil {
		p.t.Fatal(err)
	}
	return db
}

// numbers are what is in the table of [place.table].
func (p place) numbers(db *store.DB) []int64 {
	p.t.Helper()
	var out []int64
	if err := db.Read(p.t.Context(), func(q store.Queryer) (err error) {
		out, err = numbers(p.t.Context(), q)
		return err
	}); err != nil {
		p.t.Fatal(err)
	}
	return out
}

func numbers(ctx context.Context, q store.Queryer) ([]int64, error) {
	rows, err := q.QueryContext(ctx, `SELECT n FROM t ORDER BY n`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []int64
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, rows.Err()
}

func insert(ctx context.Context, db *store.DB, n int64) error {
	return db.Write(ctx, func(tx store.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO t VALUES (?)`, n)
		return err
	})
}

func TestMigrationsRunOnceAndOnlyForward(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		ctx := t.Context()
		lists := []string{`CREATE TABLE t (n INTEGER) STRICT; INSERT INTO t VALUES (1);`, `INSERT INTO t VALUES (2);`}
		want := []int64{1, 2}
		for range 2 {
			db := p.open()
			if err := db.Migrate(ctx, "room", lists); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, p.numbers(db)); d != "" {
				t.Errorf("rows (-want +got):\n%s", d)
			}
			db.Close()
		}
		db := p.open()
		if err := db.Migrate(ctx, "room", lists[:1]); !errors.Is(err, store.ErrNewer) {
			t.Errorf("older build: %v, want ErrNewer", err)
		}
		if err := db.Migrate(ctx, "room", []string{"SELECT 1", lists[1]}); err == nil {
			t.Error("an edited migration was accepted")
		}
		bad := append(lists, `INSERT INTO t VALUES (3); INSERT INTO absent VALUES (1);`)
		if err := db.Migrate(ctx, "room", bad); err == nil {
			t.Error("a broken migration succeeded")
		}
		if d := cmp.Diff(want, p.numbers(db)); d != "" {
			t.Errorf("after a broken migration (-want +got):\n%s", d)
		}
	})
}

func TestEventsAreRecordedOnceAndInOrder(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		ctx := t.Context()
		db := p.open()
		at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
		add := func(id, typ string) (added bool) {
			t.Helper()
			if err := db.Write(ctx, func(tx store.Tx) (err error) {
				added, err = store.Append(ctx, tx, id, typ, "demo/shop", at, map[string]string{"id": id})
				return err
			}); err != nil {
				t.Fatal(err)
			}
			return added
		}
		if !add("1", "a") || !add("2", "b") || !add("3", "a") || add("1", "a") {
			t.Error("an event was lost or recorded twice")
		}
		var got []store.Event
		if err := db.Read(ctx, func(q store.Queryer) (err error) {
			got, err = store.EventsAfter(ctx, q, "a", 0, 10)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if len(got) != 2 || got[0].ID != "1" || got[1].ID != "3" || !got[0].Time.Equal(at) || string(got[0].Data) != `{"id":"1"}` {
			t.Errorf("got %+v", got)
		}
		if err := db.Write(ctx, func(tx store.Tx) error { return store.SetCursor(ctx, tx, "ci", got[0].Seq) }); err != nil {
			t.Fatal(err)
		}
		if err := db.Read(ctx, func(q store.Queryer) error {
			seq, err := store.Cursor(ctx, q, "ci")
			if seq != got[0].Seq {
				t.Errorf("cursor %d", seq)
			}
			rest, err2 := store.EventsAfter(ctx, q, "", seq, 10)
			if len(rest) != 2 {
				t.Errorf("after the cursor: %+v", rest)
			}
			none, err3 := store.Cursor(ctx, q, "other")
			if none != 0 {
				t.Errorf("a cursor never set is %d", none)
			}
			return errors.Join(err, err2, err3)
		}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestEventsAreFiltered(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		ctx := t.Context()
		db := p.open()
		start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		if err := db.Write(ctx, func(tx store.Tx) error {
			for i, typ := range []string{"a", "b", "c", "a", "b", "c"} {
				subject := []string{"x", "y"}[i%2]
				if _, err := store.Append(ctx, tx, fmt.Sprint(i), typ, subject, start.Add(time.Duration(i)*time.Hour), i); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for name, tc := range map[string]struct {
			filter store.EventFilter
			limit  int
			want   string
		}{
			"all":        {limit: 10, want: "012345"},
			"some":       {limit: 2, want: "01"},
			"types":      {filter: store.EventFilter{Types: []string{"a", "c"}}, limit: 10, want: "0235"},
			"subject":    {filter: store.EventFilter{Subject: "y"}, limit: 10, want: "135"},
			"time":       {filter: store.EventFilter{Since: start.Add(time.Hour), Until: start.Add(3 * time.Hour)}, limit: 10, want: "12"},
			"everything": {filter: store.EventFilter{Types: []string{"b"}, Subject: "x", Since: start.Add(time.Hour)}, limit: 10, want: "4"},
			"nothing":    {filter: store.EventFilter{Types: []string{"d"}}, limit: 10, want: ""},
		} {
			got := ""
			var last int64
			for {
				var list []store.Event
				if err := db.Read(ctx, func(q store.Queryer) (err error) {
					list, err = store.Events(ctx, q, tc.filter, last, tc.limit)
					return err
				}); err != nil {
					t.Fatal(err)
				}
				for _, e := range list {
					got += e.Entry().ID
					last = e.Seq
				}
				if len(list) == 0 || name == "some" {
					break
				}
			}
			if got != tc.want {
				t.Errorf("%s: %s, want %s", name, got, tc.want)
			}
			if err := db.Read(ctx, func(q store.Queryer) error {
				list, err := store.EventsBefore(ctx, q, tc.filter, math.MaxInt64, 10)
				for i, e := range list {
					if name != "some" && e.ID != got[len(got)-1-i:][:1] {
						t.Errorf("%s: backwards, %s is at place %d", name, e.ID, i)
					}
				}
				if name != "some" && len(list) != len(got) {
					t.Errorf("%s: backwards, %d events", name, len(list))
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestWriteIsAtomicAndSerial(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		ctx := t.Context()
		db := p.open()
		if err := db.Migrate(ctx, "room", []string{`CREATE TABLE t (n INTEGER NOT NULL) STRICT; INSERT INTO t VALUES (0);`}); err != nil {
			t.Fatal(err)
		}
		boom := errors.New("boom")
		// Writers that fail, panic or end must not take the work of those with
		// them with whom they share a commit.
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() {
				defer func() { _ = recover() }()
				err := db.Write(ctx, func(tx store.Tx) error {
					var n int
					if err := tx.QueryRowContext(ctx, `SELECT n FROM t`).Scan(&n); err != nil {
						return err
					}
					if _, err := tx.ExecContext(ctx, `UPDATE t SET n = ?`, n+1); err != nil {
						return err
					}
					switch i % 10 {
					case 3:
						return boom
					case 5:
						panic(boom)
					case 7:
						_, err := tx.ExecContext(ctx, `INSERT INTO absent VALUES (1)`)
						return errors.Join(boom, err)
					}
					return nil
				})
				if (i%10 == 3 || i%10 == 7) != errors.Is(err, boom) {
					t.Errorf("writer %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		if d := cmp.Diff([]int64{140}, p.numbers(db)); d != "" {
			t.Errorf("n (-want +got):\n%s", d)
		}
		if err := db.Read(ctx, func(q store.Queryer) error {
			rows, err := q.QueryContext(ctx, `INSERT INTO t VALUES (1) RETURNING n`)
			if err == nil {
				defer rows.Close()
				for rows.Next() {
				}
				err = rows.Err()
			}
			return err
		}); err == nil {
			t.Error("a read wrote")
		}
	})
}

func TestAWriterWhoLeavesDoesNotHoldOthers(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		db := p.table()
		ctx, cancel := context.WithCancel(t.Context())
		inside, release := make(chan struct{}), make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			err := db.Write(ctx, func(tx store.Tx) error {
				_, err := tx.ExecContext(ctx, `INSERT INTO t VALUES (1)`)
				close(inside)
				<-release
				return err
			})
			if err != nil { // it had nothing left to do when ctx ended
				t.Errorf("the first: %v", err)
			}
		})
		<-inside
		gone := make(chan error, 1)
		wg.Go(func() { gone <- insert(ctx, db, 2) })
		// The second waits for the first, or does not yet; either way it has
		// to leave when its context ends.
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("the second: %v", err)
		}
		close(release)
		wg.Wait()
		if err := insert(ctx, db, 3); !errors.Is(err, context.Canceled) {
			t.Errorf("with a context that has ended: %v", err)
		}
		if err := insert(t.Context(), db, 4); err != nil {
			t.Errorf("the next: %v", err)
		}
		if d := cmp.Diff([]int64{1, 4}, p.numbers(db)); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	})
}

// TestCommitsAreSynced asks the writing connection whether a commit waits for
// the disk, also where the database is set up otherwise.
func TestCommitsAreSynced(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		ask, want := `PRAGMA synchronous`, "2"
		if store.IsPostgres(p.where) {
			p.where += "&synchronous_commit=off"
			ask, want = `SHOW synchronous_commit`, "on"
		}
		var got string
		if err := p.open().Write(t.Context(), func(tx store.Tx) error {
			return tx.QueryRowContext(t.Context(), ask).Scan(&got)
		}); err != nil || got != want {
			t.Errorf("%s says %q, %v; want %q", ask, got, err, want)
		}
	})
}

func TestTheEndOfAContextRefusesFurtherStatements(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		db := p.table()
		ctx, cancel := context.WithCancel(t.Context())
		err := db.Write(ctx, func(tx store.Tx) error {
			if _, err := tx.ExecContext(ctx, `INSERT INTO t VALUES (1)`); err != nil {
				return err
			}
			cancel()
			_, err := tx.ExecContext(ctx, `INSERT INTO t VALUES (2)`)
			return err
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if err := db.Read(ctx, func(store.Queryer) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("read: %v", err)
		}
		if got := p.numbers(db); len(got) != 0 {
			t.Errorf("left %v", got)
		}
	})
}

func TestAReadSeesOneState(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		ctx := t.Context()
		db := p.table()
		err := db.Read(ctx, func(q store.Queryer) error {
			before, err := numbers(ctx, q)
			if err != nil {
				return err
			}
			if err := insert(ctx, db, 1); err != nil {
				return err
			}
			after, err := numbers(ctx, q)
			if len(before)+len(after) != 0 {
				t.Errorf("before %v, after %v", before, after)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := p.numbers(db); len(got) != 1 { // what was acknowledged is seen
			t.Errorf("the next read: %v", got)
		}
	})
}

func TestAStatementHasLimits(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		ctx := t.Context()
		db := p.table()
		args := make([]any, 40_000)
		for i := range args {
			args[i] = i
		}
		list := func(n int) string { return `SELECT count(*) FROM t WHERE n IN (?` + strings.Repeat(`, ?`, n-1) + `)` }
		err := db.Read(ctx, func(q store.Queryer) error {
			var n int
			if err := q.QueryRowContext(ctx, list(5000), args[:5000]...).Scan(&n); err != nil {
				t.Errorf("5,000 arguments: %v", err)
			}
			return q.QueryRowContext(ctx, list(len(args)), args...).Scan(&n)
		})
		if err == nil || !strings.Contains(err.Error(), "the limit is 32766") {
			t.Errorf("40,000 arguments: %v", err)
		}

		// A statement without end is cut, and takes nobody with it.
		const short = 300 * time.Millisecond
		const endless = `WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT max(n) FROM r`
		if err := store.ReadWithin(db, ctx, short, func(q store.Queryer) error {
			var n int64
			return q.QueryRowContext(ctx, endless).Scan(&n)
		}); err == nil {
			t.Error("an endless query ended")
		}
		var wg sync.WaitGroup
		for i := range int64(5) {
			wg.Go(func() {
				if i != 2 {
					if err := insert(ctx, db, i); err != nil {
						t.Errorf("writer %d: %v", i, err)
					}
					return
				}
				if err := store.WriteWithin(db, ctx, short, func(tx store.Tx) error {
					_, err := tx.ExecContext(ctx, `INSERT INTO t `+endless)
					return err
				}); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("an endless statement: %v", err)
				}
			})
		}
		wg.Wait()
		if d := cmp.Diff([]int64{0, 1, 3, 4}, p.numbers(db)); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	})
}

func TestValuesComeBackAlike(t *testing.T) {
	type name string
	each(t, func(t *testing.T, p place) {
		ctx := t.Context()
		db := p.open()
		if err := db.Migrate(ctx, "room", []string{`
			CREATE TABLE v ( -- a '?' in a comment and STRICT words: TEXT
				id     INTEGER PRIMARY KEY AUTOINCREMENT,
				t      TEXT NOT NULL DEFAULT 'INTEGER', /* BLOB */
				"BLOB" BLOB,
				r      REAL,
				flag   INTEGER NOT NULL,
				offset INTEGER NOT NULL
			) STRICT;
			CREATE TABLE w (k TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
			CREATE INDEX v_flag ON v (flag) WHERE t <> 'TEXT';`}); err != nil {
			t.Fatal(err)
		}
		large := strings.Repeat("ü\n", 1<<20)
		var ids []int64
		for _, s := range []any{"ab", name("B"), "a'?\"b", "a\x00b\xff", "", large} {
			var id int64
			if err := db.Write(ctx, func(tx store.Tx) error {
				return tx.QueryRowContext(ctx, `INSERT INTO v (t, "BLOB", r, flag, "offset") VALUES (?, ?, ?, ?, ?) RETURNING id`,
					s, []byte{0, 1, 255}, 0.5, true, int64(1)<<62).Scan(&id)
			}); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		for i := 1; i < len(ids); i++ {
			if ids[i] <= ids[i-1] {
				t.Errorf("keys %v do not ascend", ids)
			}
		}
		var got []string
		if err := db.Read(ctx, func(q store.Queryer) error {
			rows, err := q.QueryContext(ctx, `SELECT t, "BLOB", r, flag, "offset" FROM v WHERE flag = ? AND '?' <> ? ORDER BY t`, true, "x")
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var s string
				var b []byte
				var r float64
				var flag bool
				var n int64
				if err := rows.Scan(&s, &b, &r, &flag, &n); err != nil {
					return err
				}
				if string(b) != "\x00\x01\xff" || r != 0.5 || !flag || n != 1<<62 {
					t.Errorf("%q: %v %v %v %v", s, b, r, flag, n)
				}
				got = append(got, s)
			}
			return rows.Err()
		}); err != nil {
			t.Fatal(err)
		}
		want := []string{"", "B", "a'?\"b", "ab", "a\uFFFDb\uFFFD", large} // in order of bytes
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-want +got):\n%.2000s", d)
		}
		for _, bad := range []any{time.Now(), &ids, uint64(1) << 63, struct{}{}} {
			err := db.Write(ctx, func(tx store.Tx) error {
				var n int
				_, err := tx.ExecContext(ctx, `INSERT INTO w VALUES (?)`, bad)
				rerr := tx.QueryRowContext(ctx, `SELECT count(*) FROM w WHERE k = ?`, bad).Scan(&n)
				if err == nil || rerr == nil || rerr.Error() != err.Error() {
					t.Errorf("%T: %v, %v", bad, err, rerr)
				}
				return err
			})
			if err == nil {
				t.Errorf("%T was stored", bad)
			}
		}
	})
}

func TestWhatIsAcknowledgedIsSeen(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		ctx := t.Context()
		db := p.table()
		const writers, each = 20, 20
		var wg sync.WaitGroup
		for w := range int64(writers) {
			wg.Go(func() {
				for i := range int64(each) {
					n := w*each + i
					if err := insert(ctx, db, n); err != nil {
						t.Error(err)
						return
					}
					// What Write acknowledged is there for everybody at once.
					var found int
					if err := db.Read(ctx, func(q store.Queryer) error {
						return q.QueryRowContext(ctx, `SELECT count(*) FROM t WHERE n = ?`, n).Scan(&found)
					}); err != nil || found != 1 {
						t.Errorf("%d is there %d times, %v", n, found, err)
					}
				}
			})
		}
		wg.Wait()
		if got := len(p.numbers(db)); got != writers*each {
			t.Errorf("%d rows, want %d", got, writers*each)
		}
	})
}

func TestWritersWhoComeTogetherShareACommit(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		ctx := t.Context()
		db := p.table()
		store.SetBatchAge(db, time.Hour)
		before := store.Commits(db)
		inside, release := make(chan struct{}), make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := db.Write(ctx, func(tx store.Tx) error {
				close(inside)
				<-release
				_, err := tx.ExecContext(ctx, `INSERT INTO t VALUES (0)`)
				return err
			}); err != nil {
				t.Error(err)
			}
		})
		<-inside
		const n = 50
		for i := range int64(n) {
			wg.Go(func() {
				if err := insert(ctx, db, i+1); err != nil {
					t.Error(err)
				}
			})
		}
		for deadline := time.Now().Add(time.Minute); store.Waiting(db) < n; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d of %d writers wait", store.Waiting(db), n)
			}
		}
		close(release)
		wg.Wait()
		if got := store.Commits(db) - before; got != 1 {
			t.Errorf("%d commits, want one", got)
		}
		if got := len(p.numbers(db)); got != n+1 {
			t.Errorf("%d rows, want %d", got, n+1)
		}
	})
}
