package app

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// Environment variables that name a PostgreSQL database for the server.
const (
	databaseEnv     = "PENSTOCK_DATABASE"
	databaseFileEnv = "PENSTOCK_DATABASE_FILE"
)

// findDatabase says where the server's store is: at the URL given as a flag,
// in a file or in the environment, else in the data directory. The URL can
// have a password, so it does not stay in the environment, which the
// processes that we start would see.
func findDatabase(dataDir, flag, file string) (string, error) {
	env, fileEnv := os.Getenv(databaseEnv), os.Getenv(databaseFileEnv)
	for _, name := range []string{databaseEnv, databaseFileEnv} {
		if err := os.Unsetenv(name); err != nil {
			return "", fmt.Errorf("clear %s: %w", name, err)
		}
	}
	where, from := flag, "--database"
	switch {
	case flag != "" && file != "":
		return "", databaseError("--database and --database-file", errors.New("are both given"))
	case flag != "":
		if u, err := url.Parse(flag); err == nil && (u.User != nil && hasPassword(u.User) || u.Query().Has("password")) {
			return "", databaseError(from, errors.New("has a password, which every user of this machine can read in the list of processes"))
		}
	case file != "":
		return readDatabaseFile(file)
	case env != "":
		where, from = env, databaseEnv
	case fileEnv != "":
		return readDatabaseFile(fileEnv)
	default:
		return filepath.Join(dataDir, "store.sqlite"), nil
	}
	if !store.IsPostgres(where) {
		return "", databaseError(from, errors.New("is no URL of a PostgreSQL database"))
	}
	return where, nil
}

func hasPassword(u *url.Userinfo) bool {
	_, has := u.Password()
	return has
}

func readDatabaseFile(path string) (string, error) {
	f, err := os.Open(path) //nolint:gosec // the user names it
	if err != nil {
		return "", databaseError(path, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return "", databaseError(path, err)
	}
	where := strings.TrimSpace(string(b))
	if !store.IsPostgres(where) || strings.ContainsAny(where, "\n\r") {
		return "", databaseError(path, errors.New("does not hold the URL of a PostgreSQL database alone"))
	}
	return where, nil
}

func databaseError(subject string, err error) error {
	return &problem.Error{Op: "find the database", Subject: subject, Err: fmt.Errorf("%w: %w", err, problem.ErrInvalid), Code: problem.ExitUsage,
		Hint: "--database postgres://user@host:5432/name, with the password in ~/.pgpass; or the whole URL in " + databaseEnv + " or in the file that --database-file names"}
}
