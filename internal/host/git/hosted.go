package git

import (
	"fmt"
	"net/url"
	"strings"
	"sync"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// hosted knows which URLs name repositories that are hosted here.
type hosted struct {
	clone string            // the address handed to people, ends in "/"
	bases []string          // normal forms of our addresses, end in "/"
	fixed map[string]string // aliases of the options, as below

	mu      sync.RWMutex
	aliases map[string]string // normal form of an outside URL -> repository
}

func newHosted(urls []string, aliases map[string]string) (*hosted, error) {
	h := &hosted{fixed: map[string]string{}, aliases: map[string]string{}}
	for i, u := range urls {
		key, ok := normalURL(u)
		if !ok {
			return nil, fmt.Errorf("git address %q is not a URL: %w", u, problem.ErrInvalid)
		}
		h.bases = append(h.bases, key+"/")
		if i == 0 {
			h.clone = strings.TrimSuffix(u, "/") + "/"
		}
	}
	for u, repo := range aliases {
		key, ok := normalURL(u)
		if !ok {
			return nil, fmt.Errorf("git alias %q is not a URL: %w", u, problem.ErrInvalid)
		}
		if err := CheckName(repo); err != nil {
			return nil, fmt.Errorf("git alias %q: %w", u, err)
		}
		if other, twice := h.fixed[key]; twice && other != repo {
			return nil, fmt.Errorf("git alias %q stands for both %s and %s: %w", u, other, repo, problem.ErrInvalid)
		}
		h.fixed[key] = repo
	}
	return h, nil
}

func (h *hosted) cloneURL(repo string) string { return h.clone + repo + ".git" }

func (h *hosted) repo(u string) (string, bool) {
	key, ok := normalURL(u)
	if !ok {
		return "", false
	}
	if repo, ok := h.fixed[key]; ok {
		return repo, true
	}
	h.mu.RLock()
	alias, ok := h.aliases[key]
	h.mu.RUnlock()
	if ok {
		return alias, true
	}
	for _, base := range h.bases {
		if repo, ok := strings.CutPrefix(key, base); ok && CheckName(repo) == nil {
			return repo, true
		}
	}
	return "", false
}

func (h *hosted) set(key, repo string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.aliases[key] = repo
}

func (h *hosted) unset(key string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.aliases, key)
}

// forget removes the aliases of a repository.
func (h *hosted) forget(repo string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, r := range h.aliases {
		if r == repo {
			delete(h.aliases, key)
		}
	}
}

// Hosted says which hosted repository u stands for: a URL of ours, or an alias.
// The repository need not exist.
func (s *Server) Hosted(u string) (repo string, ok bool) { return s.names.repo(u) }

// normalURL gives different spellings of a repository's address one form: no
// scheme, user, query, default port, ".git" or "/" at the end, host in lower
// case. "git@host:path" is the scp form of ssh.
func normalURL(raw string) (key string, ok bool) {
	raw = strings.TrimSpace(raw)
	if !strings.Contains(raw, "://") {
		host, path, ok := strings.Cut(raw, ":")
		if !ok || strings.ContainsAny(host, "/ ") || strings.HasPrefix(path, "//") {
			return "", false
		}
		raw = "ssh://" + host + "/" + strings.TrimPrefix(path, "/")
	}
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" {
		return "", false
	}
	defaultPort := map[string]string{"http": "80", "https": "443", "ssh": "22", "git": "9418"}
	def, known := defaultPort[strings.ToLower(u.Scheme)]
	if !known {
		return "", false
	}
	host := strings.ToLower(u.Hostname())
	if p := u.Port(); p != "" && p != def {
		host += ":" + p
	}
	path := strings.TrimSuffix(strings.Trim(u.Path, "/"), ".git")
	if path == "" {
		return "", false
	}
	return host + "/" + path, true
}
