package git

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/penstock-dev/penstock/internal/base/atomicfile"
	"github.com/penstock-dev/penstock/internal/base/problem"
)

// Secrets keep values that must not be readable in the store. Get's error for
// a name that was not put wraps problem.ErrNotFound; Delete has none for it.
type Secrets interface {
	Put(ctx context.Context, name string, value []byte) error
	Get(ctx context.Context, name string) ([]byte, error)
	Delete(ctx context.Context, name string) error
}

// credentialsOf names the credentials of a mirror.
func credentialsOf(repo string) string { return "mirror/" + repo }

// secretsName is the directory of fileSecrets under the root.
const secretsName = ".secrets"

// maxSecret bounds one value.
const maxSecret = 256 << 10

// fileSecrets keeps each value in a file that only we can read.
type fileSecrets struct{ dir string }

func (f fileSecrets) path(name string) string {
	return filepath.Join(f.dir, base64.RawURLEncoding.EncodeToString([]byte(name)))
}

func (f fileSecrets) Put(_ context.Context, name string, value []byte) error {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return fmt.Errorf("keep a secret: %w", err)
	}
	if err := atomicfile.Write(f.path(name), value, 0o600); err != nil {
		return fmt.Errorf("keep a secret: %w", err)
	}
	return nil
}

func (f fileSecrets) Get(_ context.Context, name string) ([]byte, error) {
	file, err := os.Open(f.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("secret %s: %w", name, problem.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read a secret: %w", err)
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, maxSecret))
}

func (f fileSecrets) Delete(_ context.Context, name string) error {
	if err := os.Remove(f.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove a secret: %w", err)
	}
	return nil
}

// credentials is how a mirror's credentials are written down.
type credentials struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// remote completes the address of a mirror with its credentials.
func (s *Server) remote(ctx context.Context, repo, url string) (Remote, error) {
	r := Remote{URL: url}
	b, err := s.secrets.Get(ctx, credentialsOf(repo))
	if errors.Is(err, problem.ErrNotFound) {
		return r, nil
	}
	if err != nil {
		return r, fmt.Errorf("credentials of mirror %s: %w", repo, err)
	}
	var c credentials
	if err := json.Unmarshal(b, &c); err != nil {
		return r, fmt.Errorf("credentials of mirror %s cannot be decoded", repo) // the cause would quote them
	}
	r.Username, r.Password = c.Username, c.Password
	return r, nil
}

// keep stores the credentials of a mirror, if it has any.
func (s *Server) keep(ctx context.Context, repo string, r Remote) error {
	if r.Username+r.Password == "" {
		return s.secrets.Delete(ctx, credentialsOf(repo))
	}
	b, err := json.Marshal(credentials{r.Username, r.Password})
	if err != nil {
		return fmt.Errorf("encode credentials: %w", err)
	}
	return s.secrets.Put(ctx, credentialsOf(repo), b)
}
