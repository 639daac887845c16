package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
)

const keySize = 32 // AES-256

// errChanged says that what was opened is not what was sealed, or is not what
// was asked for.
var errChanged = errors.New("it was changed, or is that of another secret, since it was sealed")

// newKey makes a random key.
func newKey() []byte {
	k := make([]byte, keySize)
	_, _ = rand.Read(k) // crypto/rand never fails since Go 1.24
	return k
}

// seal encrypts text under key. about is what it is bound to: opening it needs
// the same. The nonce, random, comes first in the result.
func seal(key, text, about []byte) ([]byte, error) {
	a, err := aead(key)
	if err != nil {
		return nil, err
	}
	return a.Seal(nil, nil, text, about), nil //nolint:gosec // this AEAD makes its nonces itself
}

// open decrypts what seal gave.
func open(key, sealed, about []byte) ([]byte, error) {
	a, err := aead(key)
	if err != nil {
		return nil, err
	}
	text, err := a.Open(nil, nil, sealed, about)
	if err != nil {
		return nil, errChanged
	}
	return text, nil
}

func aead(key []byte) (cipher.AEAD, error) {
	if len(key) != keySize {
		return nil, fmt.Errorf("a key of %d bytes, want %d", len(key), keySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// about is what a version of a secret is bound to. Each part has its length
// before it, so no two names give the same.
func about(n Name, version int64) []byte {
	var b []byte
	for _, part := range []string{"penstock secret 1", n.Room, n.Scope, n.Name} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
		b = append(b, part...)
	}
	return binary.BigEndian.AppendUint64(b, uint64(version))
}
