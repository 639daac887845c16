package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/supply/build"
)

// maxDockerfile bounds a Dockerfile from standard input.
const maxDockerfile = 1 << 20

// buildFlags are the flags of docker buildx build, as far as they make sense
// without a docker daemon.
type buildFlags struct {
	file                  string
	tags, args, labels    []string
	target                string
	platforms, secrets    []string
	contexts              []string
	cacheFrom, cacheTo    []string
	outputs               []string
	push, load            bool
	noCache, pull, quiet  bool
	noCacheFilter         []string
	progress              string
	metadataFile, iidFile string
}

func (f *buildFlags) register(fs *pflag.FlagSet) {
	fs.StringVarP(&f.file, "file", "f", "", "`path` of the Dockerfile, - for standard input (default: Dockerfile in the context)")
	fs.StringArrayVarP(&f.tags, "tag", "t", nil, "`name` of the image, [HOST/]NAME[:TAG]; repeatable")
	fs.StringVar(&f.target, "target", "", "`stage` to build")
	fs.StringArrayVar(&f.args, "build-arg", nil, "`NAME=VALUE` of an ARG; NAME alone takes the environment's value; repeatable")
	fs.StringArrayVar(&f.labels, "label", nil, "`NAME=VALUE` of a label; repeatable")
	fs.StringArrayVar(&f.platforms, "platform", nil, "`OS/ARCHITECTURE` to build for; repeatable, or with commas")
	fs.StringArrayVar(&f.secrets, "secret", nil, "`id=NAME,src=FILE` or id=NAME,env=VARIABLE for RUN --mount=type=secret; repeatable")
	fs.StringArrayVar(&f.contexts, "build-context", nil, "`NAME=CONTEXT`, a further context: a directory, a Git reference, docker-image://REF or oci-layout://DIRECTORY[:TAG]; repeatable")
	fs.StringArrayVar(&f.cacheFrom, "cache-from", nil, "`type=local,src=DIRECTORY` or type=registry,ref=IMAGE; repeatable")
	fs.StringArrayVar(&f.cacheTo, "cache-to", nil, "`type=local,dest=DIRECTORY`[,mode=max], type=registry,ref=IMAGE or type=inline; repeatable")
	// It hides the output format of the other commands, as the habit of
	// docker buildx build is the stronger one.
	fs.StringArrayVarP(&f.outputs, "output", "o", nil, "where the result goes: `type=TYPE,dest=PATH` with type oci, docker, tar, local, node, push or cacheonly; a directory alone is type=local; repeatable")
	fs.BoolVar(&f.load, "load", false, "put the image into the node (the default with a tag): --output type=node")
	fs.BoolVar(&f.push, "push", false, "push the image to its registry: --output type=push")
	fs.BoolVar(&f.noCache, "no-cache", false, "take no step from the cache")
	fs.StringArrayVar(&f.noCacheFilter, "no-cache-filter", nil, "take no step of this `stage` from the cache; repeatable")
	fs.BoolVar(&f.pull, "pull", false, "look for newer base images")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "print the digest only")
	fs.StringVar(&f.progress, "progress", build.DisplayAuto, "show progress `as` auto, plain, tty, quiet or rawjson")
	fs.StringVar(&f.metadataFile, "metadata-file", "", "write the result's metadata as JSON to this `path`")
	fs.StringVar(&f.iidFile, "iidfile", "", "write the image's digest to this `path`")
}

// environment is what flags refer to.
type environment struct {
	lookup func(string) (string, bool) // environment variables
	exists func(path string) bool      // regular files
	stdin  io.Reader
}

// request turns flags into a request. What a flag's text cannot mean is
// refused here; what BuildKit could not do, by package build.
func (f *buildFlags) request(where string, env environment) (build.Request, error) {
	r := build.Request{
		Context: where, Target: f.target, Tags: f.tags,
		NoCache: f.noCache, NoCacheFilter: f.noCacheFilter, Pull: f.pull,
	}
	bad := func(flag, value string, err error, hint string) (build.Request, error) {
		return build.Request{}, &problem.Error{Op: "read the command line", Subject: strings.TrimSpace("--" + flag + " " + value), Code: problem.ExitUsage, Err: err, Hint: hint}
	}
	if f.file == "-" {
		b, err := io.ReadAll(io.LimitReader(env.stdin, maxDockerfile+1))
		if err != nil {
			return build.Request{}, fmt.Errorf("read Dockerfile from standard input: %w", err)
		}
		if len(b) > maxDockerfile {
			return bad("file", "-", fmt.Errorf("the Dockerfile is larger than %d bytes", maxDockerfile), "")
		}
		r.DockerfileData = b
	} else {
		r.Dockerfile = f.file
	}
	r.Args = map[string]string{}
	for _, a := range f.args {
		k, v, has := strings.Cut(a, "=")
		if !has {
			if v, has = env.lookup(k); !has {
				continue // as docker: the Dockerfile's default holds
			}
		}
		r.Args[k] = v
	}
	if v, ok := env.lookup("SOURCE_DATE_EPOCH"); ok && v != "" {
		if _, given := r.Args["SOURCE_DATE_EPOCH"]; !given {
			r.Args["SOURCE_DATE_EPOCH"] = v // reproducible builds, as buildx
		}
	}
	r.Labels = map[string]string{}
	for _, l := range f.labels {
		k, v, _ := strings.Cut(l, "=")
		if k == "" {
			return bad("label", l, errors.New("the label has no name"), "--label NAME=VALUE")
		}
		r.Labels[k] = v
	}
	for _, p := range f.platforms {
		for one := range strings.SplitSeq(p, ",") {
			r.Platforms = append(r.Platforms, strings.TrimSpace(one))
		}
	}
	r.Contexts = map[string]string{}
	for _, c := range f.contexts {
		k, v, ok := strings.Cut(c, "=")
		if !ok || k == "" || v == "" {
			return bad("build-context", c, errors.New("it is not NAME=CONTEXT"), "--build-context base=oci-layout://DIRECTORY")
		}
		r.Contexts[k] = v
	}
	for _, s := range f.secrets {
		sec, err := parseSecret(s, env)
		if err != nil {
			// Not its text: somebody may have put the secret itself there.
			return bad("secret", "", err, "--secret id=NAME,src=FILE or --secret id=NAME,env=VARIABLE")
		}
		r.Secrets = append(r.Secrets, sec)
	}
	var err error
	if r.CacheFrom, err = build.ParseCaches(f.cacheFrom); err != nil {
		return bad("cache-from", strings.Join(f.cacheFrom, " "), err, "--cache-from type=local,src=DIRECTORY")
	}
	if r.CacheTo, err = build.ParseCaches(f.cacheTo); err != nil {
		return bad("cache-to", strings.Join(f.cacheTo, " "), err, "--cache-to type=local,dest=DIRECTORY")
	}
	for _, o := range f.outputs {
		out, err := parseOutput(o)
		if err != nil {
			return bad("output", o, err, "--output type=oci,dest=FILE")
		}
		r.Outputs = append(r.Outputs, out)
	}
	r.Outputs = f.withShorthands(r.Outputs)
	return r, nil
}

// withShorthands adds what --push and --load stand for, and the default.
func (f *buildFlags) withShorthands(outs []build.Output) []build.Output {
	has := func(typ string) bool {
		return slices.ContainsFunc(outs, func(o build.Output) bool { return o.Type == typ })
	}
	if f.push && !has(build.OutputPush) {
		outs = append(outs, build.Output{Type: build.OutputPush})
	}
	if f.load && !has(build.OutputNode) {
		outs = append(outs, build.Output{Type: build.OutputNode})
	}
	if len(outs) > 0 {
		return outs
	}
	if len(f.tags) > 0 {
		return []build.Output{{Type: build.OutputNode}}
	}
	return []build.Output{{Type: build.OutputCacheOnly}}
}

// parseSecret reads id=NAME with src=FILE, env=VARIABLE, or neither: then the
// environment variable of that name, else the file.
func parseSecret(text string, env environment) (build.Secret, error) {
	kv, err := build.ParseFields(text)
	if err != nil {
		return build.Secret{}, err
	}
	var s build.Secret
	typ := ""
	for _, e := range kv {
		switch e.Key {
		case "id":
			s.ID = e.Value
		case "src", "source":
			s.File = e.Value
		case "env":
			s.Env = e.Value
		case "type":
			typ = e.Value
		default:
			return build.Secret{}, fmt.Errorf("a secret has no field %q, only id, src, env and type", e.Key)
		}
	}
	switch typ {
	case "":
	case "file":
		if s.Env != "" {
			return build.Secret{}, errors.New("a secret of type file has no env")
		}
	case "env":
		if s.Env == "" && s.File != "" { // buildx: type=env,src=VARIABLE
			s.Env, s.File = s.File, ""
		}
	default:
		return build.Secret{}, fmt.Errorf("type %q is neither file nor env", typ)
	}
	if s.ID == "" {
		return build.Secret{}, errors.New("the secret has no id")
	}
	if s.File == "" && s.Env == "" {
		if _, ok := env.lookup(s.ID); ok && typ != "file" {
			s.Env = s.ID
		} else if env.exists(s.ID) && typ != "env" {
			s.File = s.ID
		} else {
			return build.Secret{}, fmt.Errorf("neither an environment variable nor a file is named %q", s.ID)
		}
	}
	return s, nil
}

// parseOutput reads type=TYPE,dest=PATH…, or a directory alone, or "-".
func parseOutput(text string) (build.Output, error) {
	if text == "-" {
		return build.Output{Type: build.OutputTar, Dest: "-"}, nil
	}
	if text == "" {
		return build.Output{}, errors.New("it is empty")
	}
	if !strings.Contains(text, "=") {
		return build.Output{Type: build.OutputLocal, Dest: text}, nil
	}
	kv, err := build.ParseFields(text)
	if err != nil {
		return build.Output{}, err
	}
	o := build.Output{Attrs: map[string]string{}}
	for _, e := range kv {
		switch e.Key {
		case "type":
			o.Type = e.Value
		case "dest":
			o.Dest = e.Value
		default:
			o.Attrs[e.Key] = e.Value
		}
	}
	return buildxOutput(o)
}

// buildxOutput maps the types of buildx that are spelled otherwise here.
func buildxOutput(o build.Output) (build.Output, error) {
	switch o.Type {
	case "registry":
		o.Type = build.OutputPush
	case "image":
		if o.Attrs["push"] != "true" {
			return o, errors.New("the builder keeps no images: use type=node for the node, or push=true")
		}
		delete(o.Attrs, "push")
		o.Type = build.OutputPush
	case "docker":
		if o.Dest == "" { // docker's own store is the node here
			o.Type = build.OutputNode
		}
	case "oci":
		if o.Dest == "" {
			o.Dest = "-"
		}
	case "":
		return o, errors.New("it has no type")
	}
	return o, nil
}
