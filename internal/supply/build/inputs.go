package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	contentlocal "github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tonistiigi/fsutil"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// inputs is what a request's contexts come down to: directories that are sent
// to the builder, content stores that it reads from, and their names.
type inputs struct {
	mounts map[string]fsutil.FS
	stores map[string]content.Store
	attrs  map[string]string // of the frontend
	key    string            // stands for the main context between builds
}

// resolve finds every context and fetches those that come from Git.
func resolve(ctx context.Context, r Request, work *workspace, token func(string) string) (inputs, error) {
	in := inputs{mounts: map[string]fsutil.FS{}, stores: map[string]content.Store{}, attrs: map[string]string{}}
	fail := func(err error) (inputs, error) {
		if ctx.Err() != nil {
			return inputs{}, fmt.Errorf("build %s: %w", r.subject(), ctx.Err())
		}
		if _, ok := errors.AsType[*problem.Error](err); ok {
			return inputs{}, err
		}
		return inputs{}, &problem.Error{Op: "build", Subject: r.subject(), Code: problem.ExitUsage, Err: err}
	}
	dir, key, err := directory(ctx, r.Context, work, token)
	if err != nil {
		return fail(err)
	}
	in.key = key
	if r.ContextKey != "" {
		in.key = r.ContextKey
	}
	if in.mounts["context"], err = fsutil.NewFS(dir); err != nil {
		return fail(fmt.Errorf("open context: %w", err))
	}
	dockerfile, err := findDockerfile(r, dir, work)
	if err != nil {
		return fail(err)
	}
	if in.mounts["dockerfile"], err = fsutil.NewFS(filepath.Dir(dockerfile)); err != nil {
		return fail(fmt.Errorf("open directory of the Dockerfile: %w", err))
	}
	in.attrs["filename"] = filepath.Base(dockerfile)
	for name, c := range r.Contexts {
		if err := in.addContext(ctx, name, c, work, token); err != nil {
			return fail(fmt.Errorf("context %q: %w", name, err))
		}
	}
	return in, nil
}

// directory returns the directory that a context names, checking out Git
// references, and a key that stays the same from build to build.
func directory(ctx context.Context, c string, work *workspace, token func(string) string) (dir, key string, err error) {
	if ref, ok, err := parseGit(c); err != nil {
		return "", "", err
	} else if ok {
		dir, err := checkout(ctx, ref, work, token)
		return dir, c, err
	}
	if scheme, _, ok := strings.Cut(c, "://"); ok {
		return "", "", &problem.Error{Op: "read context", Subject: c, Code: problem.ExitUsage, Err: fmt.Errorf("%w: %s is no Git reference", problem.ErrInvalid, scheme+"://…"),
			Hint: "a Git reference over http ends in .git: https://HOST/REPOSITORY.git#REF:DIRECTORY; archives are not supported"}
	}
	if c == "-" {
		return "", "", &problem.Error{Op: "read context", Subject: c, Code: problem.ExitUsage, Err: fmt.Errorf("%w: a context from standard input is not supported", problem.ErrInvalid),
			Hint: "unpack it into a directory; a Dockerfile alone can come from standard input: --file -"}
	}
	abs, err := filepath.Abs(c)
	if err != nil {
		return "", "", fmt.Errorf("read context: %w", err)
	}
	st, err := os.Stat(abs)
	if err != nil {
		return "", "", fmt.Errorf("read context: %w", err)
	}
	if !st.IsDir() {
		return "", "", &problem.Error{Op: "read context", Subject: c, Code: problem.ExitUsage, Err: fmt.Errorf("%w: not a directory", problem.ErrInvalid), Hint: "name the Dockerfile with --file and its directory as the context"}
	}
	return abs, abs, nil
}

// findDockerfile returns the path of the Dockerfile on this machine.
func findDockerfile(r Request, contextDir string, work *workspace) (string, error) {
	if r.DockerfileData != nil {
		dir, err := work.sub("dockerfile")
		if err != nil {
			return "", err
		}
		path := filepath.Join(dir, "Dockerfile")
		if err := os.WriteFile(path, r.DockerfileData, 0o600); err != nil {
			return "", fmt.Errorf("write Dockerfile: %w", err)
		}
		return path, nil
	}
	path := r.Dockerfile
	_, git, err := parseGit(r.Context)
	switch {
	case err != nil:
		return "", err
	case path == "":
		path = filepath.Join(contextDir, "Dockerfile")
	case git:
		if !filepath.IsLocal(path) {
			return "", fmt.Errorf("dockerfile %q is outside of the repository", path)
		}
		path = filepath.Join(contextDir, path)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("find Dockerfile: %w", err)
	}
	st, err := os.Stat(abs)
	if err != nil {
		return "", &problem.Error{Op: "find Dockerfile", Subject: r.subject(), Code: problem.ExitUsage, Err: err, Hint: "name it with --file"}
	}
	if !st.Mode().IsRegular() {
		return "", &problem.Error{Op: "find Dockerfile", Subject: abs, Code: problem.ExitUsage, Err: fmt.Errorf("%w: not a file", problem.ErrInvalid), Hint: "name it with --file"}
	}
	return abs, nil
}

func (in *inputs) addContext(ctx context.Context, name, c string, work *workspace, token func(string) string) error {
	key := "context:" + name
	switch {
	case strings.HasPrefix(c, "docker-image://"):
		in.attrs[key] = c
		return nil
	case strings.HasPrefix(c, "oci-layout://"):
		dir, desc, err := findInLayout(strings.TrimPrefix(c, "oci-layout://"))
		if err != nil {
			return err
		}
		store, err := contentlocal.NewStore(dir)
		if err != nil {
			return fmt.Errorf("open OCI layout %s: %w", dir, err)
		}
		// The name of a store must look like that of a repository.
		id := fmt.Sprintf("layout-%d", len(in.stores))
		in.stores[id] = store
		in.attrs[key] = "oci-layout://" + id + "@" + desc.Digest.String()
		return nil
	}
	dir, _, err := directory(ctx, c, work, token)
	if err != nil {
		return err
	}
	fs, err := fsutil.NewFS(dir)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	in.mounts[name] = fs
	in.attrs[key] = "local:" + name
	return nil
}

// findInLayout splits DIRECTORY[:TAG|@DIGEST] and finds the image it means.
// Without both, the layout must hold one image or one tagged latest.
func findInLayout(ref string) (string, ocispecs.Descriptor, error) {
	dir, want, byDigest := strings.Cut(ref, "@")
	tag := ""
	if byDigest {
		if _, err := digest.Parse(want); err != nil {
			return "", ocispecs.Descriptor{}, fmt.Errorf("digest %q: %w", want, err)
		}
	} else if i := strings.LastIndex(dir, ":"); i > strings.LastIndex(dir, "/") {
		dir, tag = dir[:i], dir[i+1:]
	}
	f, err := os.Open(filepath.Join(dir, ocispecs.ImageIndexFile))
	if err != nil {
		return "", ocispecs.Descriptor{}, fmt.Errorf("open OCI layout: %w", err)
	}
	defer f.Close()
	var index ocispecs.Index
	if err := json.NewDecoder(io.LimitReader(f, 4<<20)).Decode(&index); err != nil {
		return "", ocispecs.Descriptor{}, fmt.Errorf("read index of OCI layout %s: %w", dir, err)
	}
	var names []string
	for _, m := range index.Manifests {
		name := m.Annotations[ocispecs.AnnotationRefName]
		if byDigest && m.Digest.String() == want || !byDigest && name == tag && tag != "" {
			return dir, m, nil
		}
		names = append(names, name)
	}
	if byDigest {
		// A blob may be named that is no top-level entry: one platform.
		return dir, ocispecs.Descriptor{Digest: digest.Digest(want)}, nil
	}
	if tag == "" {
		for _, m := range index.Manifests {
			if len(index.Manifests) == 1 || m.Annotations[ocispecs.AnnotationRefName] == "latest" {
				return dir, m, nil
			}
		}
	}
	return "", ocispecs.Descriptor{}, fmt.Errorf("OCI layout %s has no image %q, only %q", dir, tag, names)
}
