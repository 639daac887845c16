package main

import (
	"context"
	_ "embed"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/penstock-dev/penstock/internal/host/image/imagetest"
)

// recipe is how an image is made: the files of Debian packages and of all that
// they depend on, over those of the images below.
type recipe struct {
	name     string
	base     string // the recipe below, "" for none
	packages []string
	config   v1.Config
	extra    func(*files) error
}

const systemPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

//go:embed files/postgres-entrypoint
var postgresEntrypoint string

var recipes = []recipe{
	{name: "busybox"}, // see package imagetest
	{
		name: "debian",
		packages: []string{
			"base-files", "base-passwd", "bash", "bsdutils", "ca-certificates", "coreutils", "curl", "dash", "debianutils", "diffutils", "findutils",
			"grep", "gzip", "hostname", "libc-bin", "login", "mawk", "mount", "ncurses-base", "passwd", "procps", "sed", "tar", "util-linux", "xz-utils", "unzip", "jq",
		},
		config: v1.Config{Cmd: []string{"bash"}, Env: []string{systemPath}},
		extra:  debianFiles,
	},
	{name: "git", base: "debian", packages: []string{"git", "openssh-client"}, config: v1.Config{Cmd: []string{"git", "--version"}, Env: []string{systemPath}}},
	{name: "node", base: "debian", packages: []string{"git", "nodejs"}, config: v1.Config{Cmd: []string{"node"}, Env: []string{systemPath}}},
	{
		name: "python", base: "debian", packages: []string{"git", "python3", "python3-venv", "python3-pip"},
		config: v1.Config{Cmd: []string{"python3"}, Env: []string{systemPath}},
		extra: func(f *files) error {
			f.link("usr/local/bin/python", "/usr/bin/python3")
			f.link("usr/local/bin/pip", "/usr/bin/pip3")
			return nil
		},
	},
	{
		name: "postgres", base: "debian", packages: []string{"postgresql-15"},
		config: v1.Config{
			Entrypoint: []string{"/usr/local/bin/docker-entrypoint.sh"}, Cmd: []string{"postgres"}, StopSignal: "SIGINT", User: "postgres",
			Env:          []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/15/bin", "PGDATA=/var/lib/postgresql/data", "PG_MAJOR=15"},
			ExposedPorts: map[string]struct{}{"5432/tcp": {}}, Volumes: map[string]struct{}{"/var/lib/postgresql/data": {}},
		},
		extra: func(f *files) error {
			const uid = 999 // as in upstream's image
			f.file("usr/local/bin/docker-entrypoint.sh", 0o755, postgresEntrypoint)
			f.account("postgres", uid, "/var/lib/postgresql")
			f.dir("var/lib/postgresql", 0o755, uid)
			f.dir("var/run/postgresql", 0o775, uid)
			return nil
		},
	},
}

// kitchen makes images, each layer once.
type kitchen struct {
	out  string
	done map[string]*dish
}

// dish is an image that is made, the packages in it and its accounts.
type dish struct {
	image    v1.Image
	debs     []string
	packages []string
	accounts accounts
}

func (k *kitchen) make(ctx context.Context, name string) (*dish, error) {
	if d := k.done[name]; d != nil {
		return d, nil
	}
	i := slices.IndexFunc(recipes, func(r recipe) bool { return r.name == name })
	if i < 0 {
		return nil, fmt.Errorf("no image is called %q", name)
	}
	d, err := k.cook(ctx, recipes[i])
	if err != nil {
		return nil, err
	}
	if k.done == nil {
		k.done = map[string]*dish{}
	}
	k.done[name] = d
	return d, nil
}

// cook makes the image; what is below comes first, as layers of its own.
func (k *kitchen) cook(ctx context.Context, r recipe) (*dish, error) {
	if r.name == "busybox" {
		img, err := imagetest.Busybox()
		return &dish{image: img}, err
	}
	base := &dish{image: empty.Image}
	if r.base != "" {
		var err error
		if base, err = k.make(ctx, r.base); err != nil {
			return nil, err
		}
	}
	d := &dish{packages: slices.Concat(base.packages, r.packages)}
	var err error
	if d.debs, err = closure(ctx, d.packages); err != nil {
		return nil, err
	}
	cache := filepath.Join(k.out, "packages")
	if err := download(ctx, cache, d.packages); err != nil {
		return nil, err
	}
	f := &files{accounts: base.accounts}
	for _, deb := range without(d.debs, base.debs) {
		if err := f.addPackage(ctx, filepath.Join(cache, "archives", deb)); err != nil {
			return nil, err
		}
	}
	if r.extra != nil {
		if err := r.extra(f); err != nil {
			return nil, err
		}
	}
	d.accounts = f.accounts
	layer, err := f.layer()
	if err != nil {
		return nil, err
	}
	if d.image, err = mutate.AppendLayers(base.image, layer); err != nil {
		return nil, err
	}
	c, err := d.image.ConfigFile()
	if err != nil {
		return nil, err
	}
	c = c.DeepCopy()
	c.OS, c.Architecture, c.Config = "linux", runtime.GOARCH, r.config
	d.image, err = mutate.ConfigFile(d.image, c)
	return d, err
}
