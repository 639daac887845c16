// Package secret keeps secrets at rest: the secrets of CI jobs, the keys that
// sign, the passwords of other services. They are in the store, but who has
// the store (a backup, a disk, the database) has none of them: each is sealed
// with a data key of its own, and data keys are wrapped by a master key that
// is somewhere else ([Keys]).
//
// What is sealed is bound to its name and version, so rows of the table cannot
// be exchanged for each other. A secret has versions: a run that began with
// one reads that one to its end.
//
// A secret travels as a [Value], which prints, logs and encodes as "***".
package secret

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/base/redact"
)

// Name says which secret: Room is the part of Penstock whose it is, Scope what
// it is for there ("demo/shop"), Name what it is called.
type Name struct{ Room, Scope, Name string }

func (n Name) String() string {
	if n.Scope == "" {
		return n.Room + ": " + n.Name
	}
	return n.Room + ": " + n.Scope + ": " + n.Name
}

const (
	maxName  = 256
	maxValue = 64 << 10
)

func (n Name) check() error {
	for what, s := range map[string]string{"room": n.Room, "scope": n.Scope, "name": n.Name} {
		bad := s == "" && what != "scope" || len(s) > maxName || !utf8.ValidString(s)
		for _, r := range s {
			bad = bad || unicode.IsControl(r)
		}
		if bad {
			return fmt.Errorf("the %s of a secret must be text of 1 to %d bytes: %w", what, maxName, problem.ErrInvalid)
		}
	}
	return nil
}

// Info is what may be said of a version of a secret.
type Info struct {
	Name
	Version int64 // from 1
	At      time.Time
}

// Value is the content of a secret.
type Value struct{ b []byte }

// NewValue takes b over.
func NewValue(b []byte) Value { return Value{b} }

// Reveal returns the content. The caller does not change it.
func (v Value) Reveal() []byte { return v.b }

// errEncoded keeps a Value from being written somewhere as a part of something
// else.
var errEncoded = errors.New("a secret cannot be encoded")

// Format prints a Value under any verb.
func (Value) Format(f fmt.State, _ rune)     { _, _ = f.Write([]byte(redact.Hidden)) }
func (Value) String() string                 { return redact.Hidden }
func (Value) LogValue() slog.Value           { return slog.StringValue(redact.Hidden) }
func (Value) MarshalJSON() ([]byte, error)   { return nil, errEncoded }
func (Value) MarshalText() ([]byte, error)   { return nil, errEncoded }
func (Value) MarshalBinary() ([]byte, error) { return nil, errEncoded }
func (Value) GobEncode() ([]byte, error)     { return nil, errEncoded }
func (Value) MarshalYAML() (any, error)      { return nil, errEncoded }
