// Package demo takes the example shop from a push to an answer, three times
// over: a first version, a change, and the promotion of what runs in dev to
// staging and production. It uses what a user has: git, the API, Kubernetes
// objects, HTTP. It knows nothing of the rooms behind them.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"time"

	"k8s.io/client-go/dynamic"

	"github.com/penstock-dev/penstock/examples"
	"github.com/penstock-dev/penstock/internal/base/problem"

	"github.com/penstock-dev/penstock/internal/face/live"
)

// The repositories, and what answers where.
const (
	shopRepo      = "demo/shop"
	manifestsRepo = "demo/shop-manifests"
	rootApp       = "shop"
)

// environment is one place where the shop runs.
type environment struct{ name, app, host string }

var (
	dev        = environment{"dev", "shop-dev", "shop-dev"}
	staging    = environment{"staging", "shop-staging", "shop-staging"}
	production = environment{"production", "shop-production", "shop"}
)

// API is the part of the API's client that the demo needs.
type API interface {
	Do(ctx context.Context, method, path string, in, out any) error
	Stream(ctx context.Context, method, path string, body io.Reader, contentType string) (io.ReadCloser, error)
}

// Options says what the demo runs against.
type Options struct {
	API     API
	Token   string // git's; it is handed over in the environment
	Kube    dynamic.Interface
	Server  string // base URL, "http://penstock.localhost:7080"
	Gateway string // port of the gateway, "7070"
	DataDir string
	Program string // penstock itself, git's credential helper
	Dir     string // holds the work copies
	Once    bool   // only the first push
	View    live.View
}

// Stage is one part of the way and when it was reached.
type Stage struct {
	Name      string  `json:"name"`
	Seconds   float64 `json:"seconds"`   // how long it took
	SincePush float64 `json:"sincePush"` // seconds from the start of the push to its end
}

// Round is one push and what became of it.
type Round struct {
	Name   string   `json:"name"`
	Commit string   `json:"commit"`
	Run    int64    `json:"run,omitempty"` // id of the CI run
	Stages []Stage  `json:"stages"`
	URLs   []string `json:"urls"` // where that version answers
}

// Result is the whole demo.
type Result struct {
	Rounds []Round `json:"rounds"`
}

// Demo is one run of the demo.
type Demo struct {
	o     Options
	git   git
	http  *http.Client
	board *board
}

// New prepares a demo.
func New(o Options) *Demo {
	return &Demo{o: o, git: newGit(o.Server, o.Program, o.DataDir, o.Token), http: localClient(), board: newBoard(o.View)}
}

// Run runs the demo. The result holds the rounds that were completed, also
// when an error ended it.
func (d *Demo) Run(ctx context.Context) (Result, error) {
	var r Result
	shop, manifests, err := d.prepare(ctx)
	if err != nil {
		return r, err
	}
	// A commit that differs from what an earlier demo left makes every push a
	// real one.
	stamp := time.Now().Format("15:04:05")
	rounds := []struct{ name, tagline string }{
		{"first push", "Pushed at " + stamp + "."},
		{"a change", "Changed after " + stamp + ", tested, and already here."},
	}
	if d.o.Once {
		rounds = rounds[:1]
	}
	for _, round := range rounds {
		done, err := d.deploy(ctx, shop, round.name, round.tagline)
		if err != nil {
			return r, err
		}
		r.Rounds = append(r.Rounds, done)
	}
	done, err := d.promote(ctx, manifests, r.Rounds[len(r.Rounds)-1].Commit)
	if err != nil {
		return r, err
	}
	r.Rounds = append(r.Rounds, done)
	return r, nil
}

// prepare creates what is not there yet: repositories with the examples in
// them, and the Application that brings the others.
func (d *Demo) prepare(ctx context.Context) (shop, manifests *workCopy, err error) {
	d.board.begin("repositories", shopRepo+", "+manifestsRepo)
	for _, repo := range []string{shopRepo, manifestsRepo} {
		if err := d.createRepo(ctx, repo); err != nil {
			return nil, nil, err
		}
	}
	shopFiles, err := examples.Shop()
	if err != nil {
		return nil, nil, err
	}
	manifestFiles, err := examples.Manifests()
	if err != nil {
		return nil, nil, err
	}
	if shop, err = d.git.clone(ctx, shopRepo, filepath.Join(d.o.Dir, "shop")); err != nil {
		return nil, nil, failed("clone", shopRepo, err)
	}
	if manifests, err = d.git.clone(ctx, manifestsRepo, filepath.Join(d.o.Dir, "shop-manifests")); err != nil {
		return nil, nil, failed("clone", manifestsRepo, err)
	}
	if err := shop.put(shopFiles); err != nil {
		return nil, nil, failed("write the example", shopRepo, err)
	}
	// An earlier demo's manifests say what is deployed: they stay.
	if manifests.empty(ctx) {
		if err := manifests.put(manifestFiles); err != nil {
			return nil, nil, failed("write the example", manifestsRepo, err)
		}
		if _, _, err := manifests.commit(ctx, "Describe the shop and its environments"); err != nil {
			return nil, nil, failed("commit", manifestsRepo, err)
		}
		if err := manifests.push(ctx); err != nil {
			return nil, nil, failed("push", manifestsRepo, err)
		}
	}
	d.board.end("repositories", "passed", shopRepo+", "+manifestsRepo)

	d.board.begin("applications", "")
	root, err := d.applyRoot(ctx, manifestFiles)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range []environment{dev, staging, production} {
		if err := d.waitSynced(ctx, e.app); err != nil {
			return nil, nil, err
		}
	}
	d.board.end("applications", "passed", root+" and its environments are synced")
	return shop, manifests, nil
}

func (d *Demo) createRepo(ctx context.Context, repo string) error {
	err := d.o.API.Do(ctx, http.MethodPost, "/api/v1/repos", map[string]string{"name": repo}, nil)
	if err != nil && !errors.Is(err, problem.ErrExists) {
		return failed("create repository", repo, err)
	}
	return nil
}

// promote makes staging and production run what dev runs, by one commit.
func (d *Demo) promote(ctx context.Context, manifests *workCopy, version string) (Round, error) {
	r := Round{Name: "promotion"}
	began := time.Now()
	d.board.begin("promotion", "dev -> staging -> production")
	steps := []func() error{
		func() error { return manifests.pull(ctx) },
		func() error { return manifests.script(ctx, "scripts/promote.sh", "dev", "staging") },
		func() error { return manifests.script(ctx, "scripts/promote.sh", "staging", "production") },
		func() (err error) {
			r.Commit, _, err = manifests.commit(ctx, "staging, production: what dev runs")
			return err
		},
		func() error { return manifests.push(ctx) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return r, failed("promote", "dev to staging and production", err)
		}
	}
	r.reached("git push", began, began)
	for _, e := range []environment{staging, production} {
		from := time.Now()
		if err := d.waitAnswer(ctx, e, version, ""); err != nil {
			return r, err
		}
		r.reached(e.name+" answering", from, began)
		r.URLs = append(r.URLs, d.url(e))
	}
	d.board.end("promotion", "passed", "staging and production answer with the same image")
	return r, nil
}

// reached notes a stage that began at from and ended now, of a round that
// began at push.
func (r *Round) reached(name string, from, push time.Time) { r.reachedAt(name, from, time.Now(), push) }

func (r *Round) reachedAt(name string, from, to, push time.Time) {
	r.Stages = append(r.Stages, Stage{name, max(0, to.Sub(from)).Seconds(), to.Sub(push).Seconds()})
}

func (d *Demo) url(e environment) string {
	return fmt.Sprintf("http://%s.localhost:%s", e.host, d.o.Gateway)
}

// failed says which part of the demo did not work. An error that already
// speaks to people is passed on.
func failed(op, subject string, err error) error {
	var p *problem.Error
	if errors.As(err, &p) || errors.Is(err, context.Canceled) {
		return err
	}
	return &problem.Error{Op: op, Subject: subject, Err: err, Code: problem.ExitCode(err), Hint: "penstock status; penstock demo may be repeated"}
}
