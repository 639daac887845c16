package app

import (
	"context"
	"errors"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/secret"
)

// issuerKeys keeps the keys of the OpenID Connect issuer, sealed.
type issuerKeys struct{ vault *secret.Vault }

var issuerSecret = secret.Name{Room: "identity", Name: "oidc keys"}

func (k issuerKeys) Load(ctx context.Context) ([]byte, error) {
	v, _, err := k.vault.Get(ctx, issuerSecret, 0)
	if errors.Is(err, problem.ErrNotFound) {
		return nil, nil
	}
	return v.Reveal(), err
}

func (k issuerKeys) Save(ctx context.Context, keys []byte) error {
	_, err := k.vault.Set(ctx, issuerSecret, secret.NewValue(keys))
	return err
}
