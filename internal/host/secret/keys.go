package secret

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Keys wraps data keys with master keys, which it never gives away. [Ring]
// holds them in memory; a key management service can be another.
type Keys interface {
	// Current names the master key that Wrap uses. It is asked inside of
	// transactions, so it does not wait for anything.
	Current(ctx context.Context) (id string, err error)
	// Wrap encrypts a data key and binds it to about. It says with which
	// master key.
	Wrap(ctx context.Context, dataKey, about []byte) (wrapped []byte, id string, err error)
	// Unwrap decrypts what Wrap gave. The error wraps [ErrNoKey] when the
	// master key is not there.
	Unwrap(ctx context.Context, wrapped []byte, id string, about []byte) (dataKey []byte, err error)
	// Has tells whether a master key is there.
	Has(ctx context.Context, id string) (bool, error)
}

// ErrNoKey marks a secret that was sealed with a master key that is not there.
var ErrNoKey = errors.New("the master key is missing")

// Ring is master keys in memory: the first one wraps, all unwrap.
type Ring struct {
	mu   sync.RWMutex
	keys []masterKey
}

var _ Keys = (*Ring)(nil)

type masterKey struct {
	id  string
	key []byte
}

// keyID is a name of a key that tells nothing about it.
func keyID(key []byte) string {
	sum := sha256.Sum256(append([]byte("penstock master key\x00"), key...))
	return hex.EncodeToString(sum[:8])
}

func newMasterKey(key []byte) masterKey { return masterKey{keyID(key), key} }

func (r *Ring) all() []masterKey {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Clone(r.keys)
}

func (r *Ring) set(keys []masterKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys = keys
}

func (r *Ring) find(id string) (masterKey, bool) {
	for _, k := range r.all() {
		if k.id == id {
			return k, true
		}
	}
	return masterKey{}, false
}

func (r *Ring) Current(context.Context) (string, error) { return r.all()[0].id, nil }

func (r *Ring) Has(_ context.Context, id string) (bool, error) {
	_, ok := r.find(id)
	return ok, nil
}

func (r *Ring) Wrap(_ context.Context, dataKey, about []byte) ([]byte, string, error) {
	k := r.all()[0]
	wrapped, err := seal(k.key, dataKey, wrapAbout(k.id, about))
	return wrapped, k.id, err
}

func (r *Ring) Unwrap(_ context.Context, wrapped []byte, id string, about []byte) ([]byte, error) {
	k, ok := r.find(id)
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrNoKey, id)
	}
	return open(k.key, wrapped, wrapAbout(id, about))
}

// wrapAbout is what a wrapped data key is bound to.
func wrapAbout(id string, about []byte) []byte {
	return append([]byte("penstock data key 1\x00"+id+"\x00"), about...)
}
