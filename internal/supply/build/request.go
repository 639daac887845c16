package build

import (
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// Request says what to build and where the result goes. The zero value of
// every field but Context and Outputs means "as the Dockerfile says".
type Request struct {
	// Context is a directory, or a Git reference:
	// http(s)://host/repo.git[#ref[:subdirectory]].
	Context string
	// ContextKey stands for the context between builds: of one that the
	// builder has seen under this key, only what changed is sent. Default is
	// the Context.
	ContextKey string
	// Dockerfile is a path: for a directory as the context, one of this
	// machine; for a Git reference, one inside it. Default "Dockerfile".
	Dockerfile string
	// DockerfileData is the Dockerfile itself, instead of a path.
	DockerfileData []byte
	// Contexts are further contexts by name: a directory, a Git reference,
	// docker-image://REF or oci-layout://DIRECTORY[:TAG|@DIGEST].
	Contexts map[string]string

	Target    string
	Args      map[string]string
	Labels    map[string]string
	Platforms []string
	Secrets   []Secret

	Tags    []string // names of the image; a name without a tag gets "latest"
	Outputs []Output
	Stdout  io.Writer // where outputs with the destination "-" go

	CacheFrom, CacheTo []Cache
	NoCache            bool     // take no step from the cache
	NoCacheFilter      []string // take no step of these stages from the cache
	Pull               bool     // look for newer base images

	// OnBehalf says that the build is for a CI job: it gets RegistryToken for
	// Penstock's own registry, and no credentials of this user.
	OnBehalf      bool
	RegistryToken string

	// Progress gets every status, one after another. It must not block for
	// long: the build waits for it.
	Progress func(Status)
}

// Secret is a file or a value that RUN --mount=type=secret may read. It is
// sent to the builder when a step asks for it, and is in no image, log or
// command line.
type Secret struct {
	ID    string
	File  string // path of a file, or
	Env   string // name of an environment variable, or
	Value []byte // the value
}

// Cache is where build cache comes from or goes to.
type Cache struct {
	Type  string            // inline, local, registry
	Attrs map[string]string // src/dest, ref, mode=min|max …
}

// subject names the build in errors.
func (r Request) subject() string {
	if len(r.Tags) > 0 {
		return r.Tags[0]
	}
	return r.Context
}

var (
	argName     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	contextName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/:@-]*$`)
)

// check refuses what cannot be built before anything is started.
func (r Request) check(canImport bool) error {
	bad := func(hint, format string, args ...any) error {
		return &problem.Error{Op: "build", Subject: r.subject(), Code: problem.ExitUsage, Err: fmt.Errorf(format, args...), Hint: hint}
	}
	if r.Context == "" {
		return bad("name a directory or a Git reference", "no context")
	}
	if r.Dockerfile != "" && r.DockerfileData != nil {
		return bad("", "a Dockerfile is given both by path and by content")
	}
	for _, t := range r.Tags {
		if _, err := normalTag(t); err != nil {
			return bad("a tag is [HOST/]NAME[:TAG], all but TAG in lower case", "tag %q: %w", t, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Args)) {
		if !argName.MatchString(name) {
			return bad("--build-arg NAME=VALUE", "build argument %q is not a name", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Contexts)) {
		if !contextName.MatchString(name) {
			return bad("--build-context NAME=DIRECTORY", "context %q is not a name", name)
		}
	}
	for _, p := range r.Platforms {
		if _, err := platforms.Parse(p); err != nil {
			return bad("a platform is OS/ARCHITECTURE, for example linux/arm64", "platform %q: %w", p, err)
		}
	}
	seen := map[string]bool{}
	for _, s := range r.Secrets {
		if err := s.check(); err != nil {
			return bad("--secret id=NAME,src=FILE or --secret id=NAME,env=VARIABLE", "secret: %w", err)
		}
		if seen[s.ID] {
			return bad("", "secret %q is given twice", s.ID)
		}
		seen[s.ID] = true
	}
	for _, c := range r.CacheFrom {
		if err := c.checkFrom(); err != nil {
			return bad("--cache-from type=local,src=DIRECTORY or type=registry,ref=IMAGE", "cache to read: %w", err)
		}
	}
	for _, c := range r.CacheTo {
		if err := c.checkTo(); err != nil {
			return bad("--cache-to type=local,dest=DIRECTORY[,mode=max], type=registry,ref=IMAGE or type=inline", "cache to write: %w", err)
		}
	}
	return checkOutputs(r, canImport, bad)
}

func (s Secret) check() error {
	n := 0
	for _, given := range []bool{s.File != "", s.Env != "", s.Value != nil} {
		if given {
			n++
		}
	}
	switch {
	case s.ID == "":
		return fmt.Errorf("it has no id")
	case n != 1:
		return fmt.Errorf("%q needs exactly one source", s.ID)
	}
	return nil
}

// normalTag spells a name out in full, as the node and registries know it.
func normalTag(t string) (string, error) {
	n, err := reference.ParseNormalizedNamed(t)
	if err != nil {
		return "", err
	}
	if _, ok := n.(reference.Digested); ok {
		return "", fmt.Errorf("it names a digest, which is what a build finds out")
	}
	return reference.TagNameOnly(n).String(), nil
}

// names are the tags in full, without repetition.
func (r Request) names() []string {
	var out []string
	for _, t := range r.Tags {
		if n, err := normalTag(t); err == nil && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}
