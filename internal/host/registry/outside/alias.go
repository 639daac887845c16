package outside

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/penstock-dev/penstock/internal/base/atomicfile"
	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/registry/storage"
)

// Alias maps a name in another registry to a repository here. Both may end in
// "/*", which stands for whatever follows: ghcr.io/my-org/* to my-org/*.
type Alias struct {
	Name       string `json:"name"`       // docker.io/library/busybox
	Repository string `json:"repository"` // demo/busybox
}

// maxAliases bounds the table, which is read for each request.
const maxAliases = 10000

// normal returns the alias with its name spelled out, or what is wrong.
func (a Alias) normal() (Alias, error) {
	fail := func(err error) (Alias, error) {
		return Alias{}, fmt.Errorf("alias %q: %w: %w", a.Name, problem.ErrInvalid, err)
	}
	from, wild := strings.CutSuffix(a.Name, "/*")
	to, wildTo := strings.CutSuffix(a.Repository, "/*")
	if wild != wildTo {
		return fail(errors.New("both names end in /*, or none does"))
	}
	suffix := ""
	if wild {
		suffix = "/*"
		if !strings.Contains(from, "/") { // a whole registry
			if !hostForm.MatchString(from) {
				return fail(fmt.Errorf("%q is not a host", from))
			}
		}
	}
	if strings.Contains(from, "/") || !wild {
		n, err := parseName(from)
		if err != nil {
			return fail(err)
		}
		if from = n.String(); wild {
			from = n.host + "/" + strings.TrimPrefix(n.path, "library/")
		}
	}
	if err := storage.CheckName(to); err != nil {
		return fail(err)
	}
	if strings.HasPrefix(to+"/", Prefix) {
		return fail(fmt.Errorf("%s holds copies of other registries", strings.TrimSuffix(Prefix, "/")))
	}
	return Alias{from + suffix, to + suffix}, nil
}

// lookup finds the alias for a normal name: one of its own, or the one with
// the longest beginning.
func lookup(table []Alias, name string) (repo string, ok bool) {
	best := -1
	for _, a := range table {
		if a.Name == name {
			return a.Repository, true
		}
		from, wild := strings.CutSuffix(a.Name, "*")
		if !wild || !strings.HasPrefix(name, from) || len(from) <= best {
			continue
		}
		best, ok = len(from), true
		repo = strings.TrimSuffix(a.Repository, "*") + name[len(from):]
	}
	return repo, ok
}

// aliases is the table and its file.
type aliases struct {
	file  string
	mu    sync.RWMutex
	table []Alias // sorted by name
}

func (t *aliases) load() error {
	b, err := os.ReadFile(t.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read aliases: %w", err)
	}
	if err := json.Unmarshal(b, &t.table); err != nil {
		return fmt.Errorf("read aliases in %s: %w", t.file, err)
	}
	for i, a := range t.table {
		if t.table[i], err = a.normal(); err != nil {
			return fmt.Errorf("read aliases in %s: %w", t.file, err)
		}
	}
	return nil
}

func (t *aliases) find(name string) (repo string, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return lookup(t.table, name)
}

// change replaces the table by what f makes of it.
func (t *aliases) change(f func(table []Alias) ([]Alias, error)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	table, err := f(slices.Clone(t.table))
	if err != nil {
		return err
	}
	slices.SortFunc(table, func(a, b Alias) int { return strings.Compare(a.Name, b.Name) })
	b, err := json.MarshalIndent(table, "", "  ")
	if err != nil {
		return fmt.Errorf("encode aliases: %w", err)
	}
	if err := atomicfile.Write(t.file, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("store aliases: %w", err)
	}
	t.table = table
	return nil
}

// Aliases returns all aliases, sorted by name.
func (r *Registry) Aliases() []Alias {
	r.aliases.mu.RLock()
	defer r.aliases.mu.RUnlock()
	return append([]Alias{}, r.aliases.table...)
}

// SetAlias adds an alias, or changes the one of that name, and returns it as
// it was understood.
func (r *Registry) SetAlias(a Alias) (Alias, error) {
	a, err := a.normal()
	if err != nil {
		return Alias{}, err
	}
	return a, r.aliases.change(func(table []Alias) ([]Alias, error) {
		table = slices.DeleteFunc(table, func(o Alias) bool { return o.Name == a.Name })
		if len(table) >= maxAliases {
			return nil, fmt.Errorf("there are %d aliases already: %w", maxAliases, problem.ErrInvalid)
		}
		return append(table, a), nil
	})
}

// RemoveAlias removes the alias of a name.
func (r *Registry) RemoveAlias(from string) error {
	to := "x"
	if strings.HasSuffix(from, "/*") {
		to = "x/*"
	}
	a, err := Alias{Name: from, Repository: to}.normal() // spells the name out
	if err != nil {
		return err
	}
	return r.aliases.change(func(table []Alias) ([]Alias, error) {
		left := slices.DeleteFunc(table, func(o Alias) bool { return o.Name == a.Name })
		if len(left) == len(r.aliases.table) {
			return nil, fmt.Errorf("alias %s: %w", from, problem.ErrNotFound)
		}
		return left, nil
	})
}
