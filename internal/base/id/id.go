// Package id makes identifiers: random ones for things, derived ones for facts
// that must be recorded once however often they are seen.
package id

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// New returns 20 random lower-case hex digits (80 bits).
func New() string {
	var b [10]byte
	_, _ = rand.Read(b[:]) // crypto/rand never fails since Go 1.24
	return hex.EncodeToString(b[:])
}

// Secret returns prefix followed by 40 random hex digits (160 bits).
func Secret(prefix string) string {
	var b [20]byte
	_, _ = rand.Read(b[:])
	return prefix + hex.EncodeToString(b[:])
}

// Of returns the same 40 hex digits for the same parts, in order.
func Of(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:20])
}
