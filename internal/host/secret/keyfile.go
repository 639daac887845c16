package secret

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/penstock-dev/penstock/internal/base/atomicfile"
	"github.com/penstock-dev/penstock/internal/base/problem"
)

// A key file has one master key a line, the one that wraps first.
const (
	keyWord    = "penstock-master-key-1"
	keyComment = "# The keys to the secrets in Penstock's store. Without them nobody can read the\n" +
		"# secrets, and with them and the store everybody can: keep a copy, elsewhere.\n"
	maxKeyFile = 64 << 10
)

// ParseKeys reads the content of a key file. Its errors quote nothing of it.
func ParseKeys(text []byte) (*Ring, error) {
	r := &Ring{}
	line := 0
	for raw := range bytes.Lines(text) {
		line++
		s := strings.TrimSpace(string(raw))
		if s == "" || s[0] == '#' {
			continue
		}
		word, encoded, _ := strings.Cut(s, " ")
		key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
		if word != keyWord || err != nil || len(key) != keySize {
			return nil, fmt.Errorf("line %d is not %q and %d bytes in base64: %w", line, keyWord, keySize, problem.ErrInvalid)
		}
		k := newMasterKey(key)
		if _, ok := r.find(k.id); ok {
			return nil, fmt.Errorf("line %d repeats a key: %w", line, problem.ErrInvalid)
		}
		r.keys = append(r.keys, k)
	}
	if len(r.keys) == 0 {
		return nil, fmt.Errorf("there is no key: %w", problem.ErrInvalid)
	}
	return r, nil
}

// formatKeys is the content of a key file.
func formatKeys(keys []masterKey) []byte {
	b := []byte(keyComment)
	for _, k := range keys {
		b = append(b, keyWord+" "+base64.StdEncoding.EncodeToString(k.key)+"\n"...)
	}
	return b
}

// readKeyFile reads the file at path, which nobody but its owner may read.
func readKeyFile(path string) (*Ring, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() || fi.Mode().Perm()&0o077 != 0 {
		return nil, &problem.Error{Op: "use key file", Subject: path, Err: fmt.Errorf("its mode is %v: others may read it", fi.Mode()), Hint: "chmod 600 " + path}
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxKeyFile {
		return nil, fmt.Errorf("it is larger than %d bytes: %w", maxKeyFile, problem.ErrInvalid)
	}
	return ParseKeys(text)
}

// createKeyFile makes a file with a new key, which is on the disk when it
// returns.
func createKeyFile(path string) (*Ring, error) {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("make key file %s: %w", path, problem.ErrExists)
	}
	r := &Ring{keys: []masterKey{newMasterKey(newKey())}}
	return r, atomicfile.Write(path, formatKeys(r.keys), 0o600)
}
