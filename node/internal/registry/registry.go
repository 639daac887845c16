// Package registry knows where Penstock's image registry is, once the server
// has told, and writes it down for containerd: in its hosts.toml files, which
// it reads at each pull.
//
// Images of the registry's own names are pulled from it. For all other
// registries it is asked first: it has aliases and copies of their images.
package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"sync"

	"github.com/penstock-dev/penstock/node/internal/layout"
)

// ErrInvalid says that settings cannot be used.
var ErrInvalid = errors.New("invalid")

// Settings say where the registry is. The zero value says that there is none.
type Settings struct {
	Names    []string `json:"names"`    // by which images name it: penstock.localhost:7080
	Endpoint string   `json:"endpoint"` // where it is: http://127.0.0.1:7080
	Token    string   `json:"token"`    // with which the node pulls
}

// Config holds the settings. Its methods may be called by many goroutines.
type Config struct {
	dir string

	mu      sync.Mutex
	now     Settings
	changed []func()
}

// Load reads the settings of an earlier start from dir, which it makes.
func Load(dir string) (*Config, error) {
	c := &Config{dir: dir}
	if err := os.MkdirAll(c.HostsDir(), 0o700); err != nil {
		return nil, fmt.Errorf("make the registry directory: %w", err)
	}
	b, err := os.ReadFile(c.file())
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the registry settings: %w", err)
	}
	if err := json.Unmarshal(b, &c.now); err != nil {
		return nil, fmt.Errorf("read the registry settings: %w", err)
	}
	if err := c.now.check(); err != nil {
		return nil, fmt.Errorf("read the registry settings: %w", err)
	}
	// A crash may have come between the two.
	return c, c.writeHosts(c.now)
}

// HostsDir is containerd's config_path.
func (c *Config) HostsDir() string { return filepath.Join(c.dir, "hosts") }

func (c *Config) file() string { return filepath.Join(c.dir, "settings.json") }

// Get returns the settings.
func (c *Config) Get() Settings {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// OnChange has f called after each change.
func (c *Config) OnChange(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changed = append(c.changed, f)
}

// Set changes the settings, for this start and the next ones.
func (c *Config) Set(s Settings) error {
	if err := s.check(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if reflect.DeepEqual(s, c.now) {
		return nil
	}
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the registry settings: %w", err)
	}
	if err := layout.WriteFile(c.file(), append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the registry settings: %w", err)
	}
	if err := c.writeHosts(s); err != nil {
		return err
	}
	c.now = s
	for _, f := range c.changed {
		f()
	}
	return nil
}

var (
	nameForm  = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,200}[a-z0-9])?(:[0-9]{1,5})?$`)
	tokenForm = regexp.MustCompile(`^[A-Za-z0-9._~+/=-]{1,512}$`)
)

func (s Settings) check() error {
	u, err := url.Parse(s.Endpoint)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", !nameForm.MatchString(u.Host), u.Path != "", u.RawQuery != "", u.User != nil:
		return fmt.Errorf("%w: endpoint %q is not of the form http://HOST:PORT", ErrInvalid, s.Endpoint)
	case len(s.Names) == 0:
		return fmt.Errorf("%w: the registry has no name", ErrInvalid)
	case !tokenForm.MatchString(s.Token):
		return fmt.Errorf("%w: the token has characters that a token does not have", ErrInvalid)
	}
	for _, n := range s.Names {
		if !nameForm.MatchString(n) {
			return fmt.Errorf("%w: name %q is not HOST:PORT", ErrInvalid, n)
		}
	}
	return nil
}

// writeHosts writes a directory for each name of the registry, and one for all
// other registries.
func (c *Config) writeHosts(s Settings) error {
	files := map[string]string{"_default": defaultHosts(s)}
	for _, n := range s.Names {
		files[n] = ownHosts(s)
	}
	have, err := os.ReadDir(c.HostsDir())
	if err != nil {
		return fmt.Errorf("list registry hosts: %w", err)
	}
	for _, e := range have {
		if _, ok := files[e.Name()]; !ok {
			if err := os.RemoveAll(filepath.Join(c.HostsDir(), e.Name())); err != nil {
				return fmt.Errorf("remove registry host: %w", err)
			}
		}
	}
	for name, text := range files {
		dir := filepath.Join(c.HostsDir(), name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make registry host: %w", err)
		}
		file := filepath.Join(dir, "hosts.toml")
		if old, err := os.ReadFile(file); err == nil && string(old) == text {
			continue
		}
		if err := layout.WriteFile(file, []byte(text), 0o600); err != nil {
			return fmt.Errorf("write registry host: %w", err)
		}
	}
	return nil
}

// ownHosts is for the registry's own names: nothing else has those images, so
// what containerd falls back to is the registry as well. The table of hosts is
// there because containerd 1.6 wants one.
func ownHosts(s Settings) string {
	return fmt.Sprintf("server = %q\n\n", s.Endpoint) + defaultHosts(s)
}

// defaultHosts is for all other registries: what the registry does not have,
// containerd gets there itself.
func defaultHosts(s Settings) string {
	return fmt.Sprintf("[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n\n  [host.%q.header]\n    Authorization = %q\n", s.Endpoint, s.Endpoint, "Bearer "+s.Token)
}
