package store_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/penstock-dev/penstock/internal/host/store"
	"github.com/penstock-dev/penstock/internal/host/store/storetest"
)

// BenchmarkWrite measures one row with its event, durable, from one writer and
// from many. PostgreSQL is the tests' own, which does not sync.
func BenchmarkWrite(b *testing.B) {
	server, err := storetest.Start()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(server.Stop)
	for _, writers := range []int{1, 32} {
		b.Run(fmt.Sprintf("sqlite/%d", writers), func(b *testing.B) {
			benchmarkWrite(b, filepath.Join(b.TempDir(), "db"), writers)
		})
		b.Run(fmt.Sprintf("postgres/%d", writers), func(b *testing.B) {
			where, err := server.Schema(b.Context(), fmt.Sprintf("s%d", schemas.Add(1)))
			if err != nil {
				b.Fatal(err)
			}
			benchmarkWrite(b, where, writers)
		})
	}
}

func benchmarkWrite(b *testing.B, where string, writers int) {
	ctx := context.Background()
	db, err := store.Open(ctx, where)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	if err := db.Migrate(ctx, "room", []string{`CREATE TABLE t (n INTEGER NOT NULL UNIQUE) STRICT`}); err != nil {
		b.Fatal(err)
	}
	jobs := make(chan int64)
	done := make(chan error, writers)
	b.ResetTimer()
	for range writers {
		go func() {
			var err error
			for n := range jobs {
				if err == nil {
					err = record(ctx, db, n)
				}
			}
			done <- err
		}()
	}
	for n := range b.N {
		jobs <- int64(n)
	}
	close(jobs)
	for range writers {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}
