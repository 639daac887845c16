package actions

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/penstock-dev/penstock/internal/base/id"
)

// Builder builds images, puts them into the node and pushes them.
type Builder interface {
	// Build builds b into the node under b.Tags and its digest, and into
	// Penstock's own registry where b.Push says so and a tag is one of its
	// names. log gets lines of progress, one call after another.
	Build(ctx context.Context, b Build, log func(line string)) (Built, error)
}

// Build is what to build.
type Build struct {
	Context    string // directory
	Dockerfile string // file
	Target     string
	Args       map[string]string
	Labels     map[string]string
	Platforms  []string
	Tags       []string
	Push       bool
	Token      string // of the job
	Secrets    map[string][]byte
	CacheFrom  []string // as buildx takes them: "type=local,src=…"
	CacheTo    []string
	NoCache    bool
	Pull       bool
}

// Built is what came of it.
type Built struct {
	ImageID  string // digest of the configuration
	Digest   string // digest of the manifest or index
	Metadata json.RawMessage
}

// buildPush is docker/build-push-action over Penstock's own builder.
type buildPush struct{ builder Builder }

func (buildPush) Inputs() map[string]Input {
	return map[string]Input{
		"context": {}, "file": {}, "target": {}, "build-args": {}, "labels": {}, "platforms": {}, "tags": {},
		"push": {Default: "false"}, "load": {Default: "false"}, "no-cache": {Default: "false"}, "pull": {Default: "false"},
		"cache-from": {}, "cache-to": {}, "secrets": {}, "secret-envs": {Refused: later}, "secret-files": {Refused: later},
		"builder": {}, "github-token": {Default: "${{ github.token }}"},
		"provenance": {Refused: "attestations come with a later version of Penstock; leave it out or set it to false", Default: "false"},
		"sbom":       {Refused: "attestations come with a later version of Penstock; leave it out or set it to false", Default: "false"},
		"add-hosts":  {Refused: later}, "allow": {Refused: later}, "annotations": {Refused: later}, "attests": {Refused: later},
		"build-contexts": {Refused: later}, "call": {Refused: later}, "cgroup-parent": {Refused: later},
		"network": {Refused: later}, "no-cache-filters": {Refused: later}, "outputs": {Refused: later + "; use push or load"},
		"shm-size": {Refused: later}, "ssh": {Refused: later}, "ulimit": {Refused: later},
	}
}

func (a buildPush) Run(ctx context.Context, s Step) error {
	if a.builder == nil {
		return errors.New("this runner has no image builder; images are built where penstock-node runs")
	}
	b, err := readBuild(s)
	if err != nil {
		return err
	}
	if err := checkTags(b.Tags, s.Job().Repo); err != nil {
		return err
	}
	work := filepath.Join(s.Job().Private, "build-"+id.New())
	if err := os.MkdirAll(work, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := a.context(ctx, s, &b, work); err != nil {
		return err
	}
	b.Push, b.Token = s.Input("push") == "true", s.Job().Token
	toNode := b.Push || s.Input("load") == "true"
	switch {
	case !toNode:
		s.Warnf("No output specified with docker/build-push-action: neither push nor load is true, so the image is built and dropped")
		b.Tags = nil
	case len(b.Tags) == 0:
		return errors.New("tags must name the image when push or load is true")
	default:
		s.Printf("Image goes straight into this machine's node, under its tags and its digest: %s", strings.Join(b.Tags, ", "))
		if b.Push {
			s.Printf("Names of %s are pushed to Penstock's registry as well; other registries get nothing from a job.", serverHost(s.Job().ServerURL))
		}
	}
	done := s.Group("Building")
	built, err := a.builder.Build(ctx, b, func(line string) { s.Printf("%s", line) })
	done()
	if err != nil {
		return err
	}
	if toNode {
		var pushed []string
		for _, tag := range b.Tags {
			if b.Push && strings.HasPrefix(tag, serverHost(s.Job().ServerURL)+"/") {
				pushed = append(pushed, tag)
			}
		}
		if err := s.Built(built.Digest, b.Tags, pushed); err != nil {
			return err
		}
	}
	s.SetOutput("imageid", built.ImageID)
	s.SetOutput("digest", built.Digest)
	s.SetOutput("metadata", string(built.Metadata))
	s.Printf("ImageID: %s", built.ImageID)
	s.Printf("Digest: %s", built.Digest)
	return nil
}

func readBuild(s Step) (Build, error) {
	b := Build{Target: s.Input("target"), NoCache: s.Input("no-cache") == "true", Pull: s.Input("pull") == "true",
		Tags: list(s.Input("tags"), true), Platforms: list(s.Input("platforms"), true),
		CacheFrom: list(s.Input("cache-from"), false), CacheTo: list(s.Input("cache-to"), false), Secrets: map[string][]byte{}}
	var err error
	if b.Args, err = keyValues(s.Input("build-args"), "build-args"); err != nil {
		return b, err
	}
	if b.Labels, err = keyValues(s.Input("labels"), "labels"); err != nil {
		return b, err
	}
	secrets, err := keyValues(s.Input("secrets"), "secrets")
	if err != nil {
		return b, err
	}
	for k, v := range secrets {
		s.Mask(v)
		b.Secrets[k] = []byte(v)
	}
	for _, c := range append(append([]string{}, b.CacheFrom...), b.CacheTo...) {
		if strings.Contains(c, "type=gha") {
			return b, fmt.Errorf("cache '%s': type=gha %s; the builder keeps its own cache on this machine anyway", c, later)
		}
		if strings.Contains(c, "type=local") {
			return b, fmt.Errorf("cache '%s': type=local %s; the builder keeps its own cache on this machine anyway", c, later)
		}
	}
	return b, nil
}

// context brings the build context and the Dockerfile out of the job's reach.
func (a buildPush) context(ctx context.Context, s Step, b *Build, work string) error {
	base, rel := s.Job().Workspace, ""
	root, err := os.OpenRoot(base)
	if err != nil {
		return err
	}
	defer func() { root.Close() }()
	name := s.Input("context")
	dockerfile := s.Input("file")
	if sub, ok := strings.CutPrefix(name, "{{defaultContext}}"); ok || name == "" {
		// The default is the commit itself, not the workspace.
		commit, err := fetchCommit(ctx, s)
		if err != nil {
			return fmt.Errorf("fetch the build context: %w", err)
		}
		root.Close()
		root, base, rel = commit, commit.Name(), strings.TrimPrefix(sub, ":")
		if dockerfile == "" {
			dockerfile = "Dockerfile"
		}
		dockerfile = filepath.Join(rel, dockerfile)
	} else if strings.Contains(name, "://") || strings.HasPrefix(name, "git@") {
		return fmt.Errorf("context '%s': contexts by URL are not supported yet by this version of Penstock; check the repository out and name its directory", name)
	} else {
		rel = name
		if dockerfile == "" {
			dockerfile = filepath.Join(name, "Dockerfile")
		}
	}
	if rel, err = relative(base, rel); err != nil {
		return fmt.Errorf("context: %w", err)
	}
	if dockerfile, err = relative(base, dockerfile); err != nil {
		return fmt.Errorf("file: %w", err)
	}
	b.Context, b.Dockerfile = filepath.Join(work, "context"), filepath.Join(work, filepath.Base(dockerfile))
	if err := snapshot(ctx, root, rel, b.Context); err != nil {
		return fmt.Errorf("read build context '%s': %w", rel, err)
	}
	if err := copyOut(root, dockerfile, b.Dockerfile); err != nil {
		return fmt.Errorf("read Dockerfile '%s': %w", dockerfile, err)
	}
	ignore := ".dockerignore"
	if err := copyOut(root, dockerfile+ignore, b.Dockerfile+ignore); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read '%s': %w", dockerfile+ignore, err)
	}
	return nil
}

// fetchCommit checks the commit of the run out into a directory of its own. The
// job can write there, so it is handed out as what was opened, not by its name.
func fetchCommit(ctx context.Context, s Step) (_ *os.Root, err error) {
	job := s.Job()
	temp, err := os.OpenRoot(job.Temp)
	if err != nil {
		return nil, err
	}
	defer temp.Close()
	name := "build-context-" + id.New()
	if err := temp.Mkdir(name, 0o755); err != nil {
		return nil, err
	}
	g := &git{step: s, dir: filepath.Join(job.Temp, name)}
	for _, args := range [][]string{{"init", "-q"}, {"remote", "add", "origin", job.ServerURL + "/git/" + job.Repo + ".git"}} {
		if err := g.must(ctx, args...); err != nil {
			return nil, err
		}
	}
	if err := g.authenticate(ctx, job, s.Input("github-token")); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, temp.Remove(filepath.Base(g.credentials))) }()
	if err := g.checkout(ctx, &source{ref: job.Ref, commit: job.SHA, depth: 1}); err != nil {
		return nil, err
	}
	if err := temp.RemoveAll(filepath.Join(name, ".git")); err != nil {
		return nil, err
	}
	return temp.OpenRoot(name)
}

// list splits an input into its lines; commas divide too when asked. Quoted
// values keep their commas.
func list(text string, commas bool) []string {
	var out []string
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case commas:
			r := csv.NewReader(strings.NewReader(line))
			r.LazyQuotes, r.TrimLeadingSpace = true, true
			fields, err := r.Read()
			if err != nil {
				fields = []string{line}
			}
			for _, f := range fields {
				if f = strings.TrimSpace(f); f != "" {
					out = append(out, f)
				}
			}
		default:
			out = append(out, line)
		}
	}
	return out
}

func keyValues(text, what string) (map[string]string, error) {
	out := map[string]string{}
	for _, line := range list(text, false) {
		k, v, ok := strings.Cut(line, "=")
		if !ok || k == "" {
			return nil, fmt.Errorf("%s: '%s' is not NAME=VALUE", what, line)
		}
		out[strings.TrimSpace(k)] = v
	}
	return out, nil
}

// serverHost is the host of a URL, which is the registry's name.
func serverHost(server string) string {
	u, err := url.Parse(server)
	if err != nil {
		return server
	}
	return u.Host
}
