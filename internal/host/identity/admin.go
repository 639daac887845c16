package identity

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"github.com/penstock-dev/penstock/internal/base/atomicfile"
	"github.com/penstock-dev/penstock/internal/base/id"
	"github.com/penstock-dev/penstock/internal/base/problem"
)

var adminForm = regexp.MustCompile(`^` + adminPrefix + `[0-9a-f]{40}$`)

// adminToken reads the token in the file at path and creates the file when
// there is none. A file that others can read, or that does not hold a token,
// is refused: using it would be unsafe, replacing it would lock its user out.
func adminToken(path string) (string, error) {
	fail := func(err error, hint string) (string, error) {
		return "", &problem.Error{Op: "read the access token", Subject: path, Err: err, Hint: hint}
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		token := id.Secret(adminPrefix)
		if err := atomicfile.Write(path, []byte(token+"\n"), 0o600); err != nil {
			return "", fmt.Errorf("create the access token: %w", err)
		}
		return token, nil
	}
	if err != nil {
		return fail(err, "run as the user that owns the data directory")
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return fail(err, "")
	}
	if mode := fi.Mode().Perm(); mode&0o077 != 0 {
		return fail(fmt.Errorf("the file has mode %04o, so others on this machine may know it", mode),
			"remove the file and start again: a new token is made")
	}
	b, err := io.ReadAll(io.LimitReader(f, 1024))
	if err != nil {
		return fail(err, "")
	}
	token := strings.TrimSpace(string(b))
	if !adminForm.MatchString(token) {
		return fail(errors.New("the file holds no token"), "remove the file and start again: a new token is made")
	}
	return token, nil
}
