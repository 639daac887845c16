package store_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/host/store"
)

func open(t *testing.T, path string) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestMigrationsRunOnceAndOnlyForward(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a db?%.sqlite")
	ctx := t.Context()
	lists := []string{`CREATE TABLE t (n INTEGER) STRICT; INSERT INTO t VALUES (1);`, `INSERT INTO t VALUES (2);`}
	for range 2 {
		db := open(t, path)
		if err := db.Migrate(ctx, "room", lists); err != nil {
			t.Fatal(err)
		}
		var n int
		if err := db.Read(ctx, func(q store.Queryer) error {
			return q.QueryRowContext(ctx, `SELECT count(*) FROM t`).Scan(&n)
		}); err != nil || n != 2 {
			t.Errorf("%d rows, %v; want 2", n, err)
		}
	}
	db := open(t, path)
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
	var n int
	if err := db.Read(ctx, func(q store.Queryer) error {
		return q.QueryRowContext(ctx, `SELECT count(*) FROM t`).Scan(&n)
	}); err != nil || n != 2 {
		t.Errorf("a broken migration left %d rows, %v; want 2", n, err)
	}
}

func TestEventsAreRecordedOnceAndInOrder(t *testing.T) {
	ctx := t.Context()
	db := open(t, filepath.Join(t.TempDir(), "db"))
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
		return errors.Join(err, err2)
	}); err != nil {
		t.Fatal(err)
	}
}

func TestWriteIsAtomicAndSerial(t *testing.T) {
	ctx := t.Context()
	db := open(t, filepath.Join(t.TempDir(), "db"))
	if err := db.Migrate(ctx, "room", []string{`CREATE TABLE t (n INTEGER) STRICT; INSERT INTO t VALUES (0);`}); err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	if err := db.Write(ctx, func(tx store.Tx) error {
		if _, err := tx.ExecContext(ctx, `UPDATE t SET n = 100`); err != nil {
			return err
		}
		return boom
	}); !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			err := db.Write(context.WithoutCancel(ctx), func(tx store.Tx) error {
				var n int
				if err := tx.QueryRowContext(ctx, `SELECT n FROM t`).Scan(&n); err != nil {
					return err
				}
				_, err := tx.ExecContext(ctx, `UPDATE t SET n = ?`, n+1)
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var n int
	if err := db.Read(ctx, func(q store.Queryer) error { return q.QueryRowContext(ctx, `SELECT n FROM t`).Scan(&n) }); err != nil || n != 20 {
		t.Errorf("n = %d, %v; want 20", n, err)
	}
	if err := db.Read(ctx, func(q store.Queryer) error {
		_, err := q.QueryContext(ctx, `INSERT INTO t VALUES (1) RETURNING n`)
		return err
	}); err == nil {
		t.Error("a read wrote")
	}
}

func TestTimesSortAsText(t *testing.T) {
	a := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	b := a.Add(time.Nanosecond)
	if store.FormatTime(a) >= store.FormatTime(b) {
		t.Error("order lost")
	}
	got, err := store.ParseTime(store.FormatTime(b))
	if err != nil || !got.Equal(b) {
		t.Errorf("%v, %v", got, err)
	}
	if z, err := store.ParseTime(store.FormatTime(time.Time{})); err != nil || !z.IsZero() {
		t.Errorf("zero: %v, %v", z, err)
	}
}
