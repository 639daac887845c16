package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/penstock-dev/penstock/internal/base/atomicfile"
	"github.com/penstock-dev/penstock/internal/base/id"
	"github.com/penstock-dev/penstock/internal/base/problem"
)

// Bind ties a store that is not in the data directory to that directory, of
// which path is a file: rooms compare the two at the start, and take what the
// directory lacks for deleted. A store that belongs to another directory is
// refused.
func (db *DB) Bind(ctx context.Context, path string) error {
	have, err := readName(path)
	if err != nil {
		return fmt.Errorf("read which database the data directory belongs to: %w", err)
	}
	var name string
	err = db.Read(ctx, func(q Queryer) error {
		return q.QueryRowContext(ctx, `SELECT id FROM store_name`).Scan(&name)
	})
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return db.name(ctx, path, have)
	case err != nil:
		return fmt.Errorf("read the name of the database: %w", err)
	case have == name:
		return nil
	}
	why := "the database belongs to another data directory"
	if have == "" {
		why = "the database belongs to another data directory, or this one is not what it was"
	}
	return &problem.Error{Op: "open store", Err: errors.New(why), Code: problem.ExitUsage,
		Hint: "start with the data directory that belongs to it. What a directory lacks is deleted from the database; where that is wanted: echo " + name + " > '" + path + "'"}
}

// name gives an empty database a name, that of the directory where it has
// one. The file comes first: with it alone, the next start goes on here.
func (db *DB) name(ctx context.Context, path, have string) error {
	if have == "" {
		have = id.New()
		if err := atomicfile.Write(path, []byte(have+"\n"), 0o600); err != nil {
			return fmt.Errorf("write which database the data directory belongs to: %w", err)
		}
	}
	err := db.Write(ctx, func(tx Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO store_name VALUES (?)`, have)
		return err
	})
	if err != nil {
		return fmt.Errorf("name the database: %w", err)
	}
	return nil
}

func readName(path string) (string, error) {
	f, err := os.Open(path) //nolint:gosec // a file of ours
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 1<<10))
	return strings.TrimSpace(string(b)), err
}
