package app

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/secret"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// keyFileEnv names the file with the master keys.
const keyFileEnv = "PENSTOCK_KEY_FILE"

// openVault opens the secrets in the store with the master keys in the file
// that the flag or the environment names, else in the data directory.
func openVault(ctx context.Context, db *store.DB, dataDir, flag string) (*secret.FileVault, error) {
	return secret.OpenFile(ctx, db, cmp.Or(flag, os.Getenv(keyFileEnv), filepath.Join(dataDir, "master.key")))
}

// gitSecrets keeps the credentials of the Git host in the vault.
type gitSecrets struct{ vault *secret.FileVault }

func gitSecret(name string) secret.Name { return secret.Name{Room: "git", Name: name} }

func (g gitSecrets) Put(ctx context.Context, name string, value []byte) error {
	_, err := g.vault.Set(ctx, gitSecret(name), secret.NewValue(value))
	return err
}

func (g gitSecrets) Get(ctx context.Context, name string) ([]byte, error) {
	v, _, err := g.vault.Get(ctx, gitSecret(name), 0)
	return v.Reveal(), err
}

func (g gitSecrets) Delete(ctx context.Context, name string) error {
	err := g.vault.Delete(ctx, gitSecret(name))
	if errors.Is(err, problem.ErrNotFound) {
		return nil
	}
	return err
}
