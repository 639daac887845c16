package build

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
)

// secretStore hands out secrets when a step asks for them. Errors name the
// secret, never its value.
type secretStore map[string]Secret

// openSecrets makes sure that every secret is there before the build starts.
func openSecrets(list []Secret) (session.Attachable, error) {
	store := secretStore{}
	for _, s := range list {
		store[s.ID] = s
		if _, err := s.read(); err != nil {
			return nil, err
		}
	}
	return secretsprovider.NewSecretProvider(store), nil
}

func (m secretStore) GetSecret(_ context.Context, id string) ([]byte, error) {
	s, ok := m[id]
	if !ok {
		return nil, fmt.Errorf("secret %q: %w", id, secrets.ErrNotFound)
	}
	return s.read()
}

func (s Secret) read() ([]byte, error) {
	switch {
	case s.Env != "":
		v, ok := os.LookupEnv(s.Env)
		if !ok {
			return nil, fmt.Errorf("secret %q: environment variable %s is not set", s.ID, s.Env)
		}
		return sized(s.ID, []byte(v))
	case s.File != "":
		f, err := os.Open(s.File)
		if err != nil {
			return nil, fmt.Errorf("secret %q: %w", s.ID, err)
		}
		defer f.Close()
		b, err := io.ReadAll(io.LimitReader(f, secretsprovider.MaxSecretSize+1))
		if err != nil {
			return nil, fmt.Errorf("secret %q: read %s: %w", s.ID, s.File, err)
		}
		return sized(s.ID, b)
	}
	return sized(s.ID, s.Value)
}

func sized(id string, b []byte) ([]byte, error) {
	if len(b) > secretsprovider.MaxSecretSize {
		return nil, fmt.Errorf("secret %q is larger than %d bytes", id, secretsprovider.MaxSecretSize)
	}
	return b, nil
}
