//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/penstock-dev/penstock/bench/app"
	"github.com/penstock-dev/penstock/internal/face/client"
)

var (
	applications = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "applications"}
	namespaces   = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	deployments  = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
)

// delivery measures a push on its way: to the first log line, to an answer of
// the new version, and a push of manifests to the objects in the cluster.
func delivery(ctx context.Context, p *platform, r *report) error {
	if err := p.ensureUp(ctx); err != nil {
		return err
	}
	d := &deliverer{platform: p, src: filepath.Join(p.dir, "src-app"), conf: filepath.Join(p.dir, "src-manifests")}
	if err := d.prepare(ctx); err != nil {
		return err
	}
	var toRun, toLine, fromCommand, answering []float64
	for i := range p.rounds + 1 {
		t, err := d.push(ctx, i)
		if err != nil {
			return fmt.Errorf("push %d: %w", i, err)
		}
		if i == 0 { // the first one creates everything
			r.add("first push to answering", "s", []float64{t.answered.Sub(t.began).Seconds()}, "creates namespace and objects")
			continue
		}
		toRun = append(toRun, t.created.Sub(t.began).Seconds())
		toLine = append(toLine, t.line.Sub(t.created).Seconds())
		fromCommand = append(fromCommand, t.line.Sub(t.began).Seconds())
		answering = append(answering, t.answered.Sub(t.began).Seconds())
		if i == p.rounds {
			r.where("A push on its way (seconds since `git push` began)", t.text())
		}
	}
	r.add("git push began to run recorded", "s", toRun, "git itself included")
	r.add("push to first log line", "s", toLine, "from the run's record to the line at a reader")
	r.add("git push began to first log line", "s", fromCommand, "")
	r.add("push to answering", "s", answering, "build, second push, sync and rollout of 2 Pods included")

	var applied []float64
	for i := range p.rounds {
		s, err := d.pushManifest(ctx, 3+i%2)
		if err != nil {
			return fmt.Errorf("push manifests: %w", err)
		}
		applied = append(applied, s)
	}
	r.add("push of a manifest to applied", "s", applied, "from the start of `git push` to the changed object at a watcher")
	return nil
}

type deliverer struct {
	*platform
	src, conf string
	api       *client.Client
	kube      dynamic.Interface
}

func (d *deliverer) prepare(ctx context.Context) (err error) {
	if d.api, err = client.New("http://penstock.localhost:7080", d.dir); err != nil {
		return err
	}
	cfg, err := d.restConfig()
	if err != nil {
		return err
	}
	if d.kube, err = dynamic.NewForConfig(cfg); err != nil {
		return err
	}
	for _, repo := range []string{app.Source, app.Manifests} {
		if _, err := d.run(ctx, 30*time.Second, "penstock", "repo", "create", repo); err != nil {
			return err
		}
	}
	if err := app.WriteSource(d.src, "version 0"); err != nil {
		return err
	}
	if err := app.WriteManifests(d.conf); err != nil {
		return err
	}
	for dir, repo := range map[string]string{d.src: app.Source, d.conf: app.Manifests} {
		for _, args := range [][]string{
			{"init", "--quiet", "--initial-branch=main"},
			{"remote", "add", "origin", "http://penstock.localhost:7080/git/" + repo + ".git"},
			{"add", "--all"},
			{"commit", "--quiet", "--message", "begin"},
		} {
			if _, err := d.git(ctx, dir, args...); err != nil {
				return err
			}
		}
	}
	if _, err := d.git(ctx, d.conf, "push", "--quiet", "origin", "main"); err != nil {
		return err
	}
	return d.apply(ctx)
}

// apply creates the namespace of Applications and the Application.
func (d *deliverer) apply(ctx context.Context) error {
	ns := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "argocd"}}}
	var a unstructured.Unstructured
	if err := yaml.Unmarshal([]byte(app.Application), &a.Object); err != nil {
		return err
	}
	opts := metav1.ApplyOptions{FieldManager: "bench", Force: true}
	var err error
	for range 100 { // the server installs the kind at its start
		_, err = d.kube.Resource(namespaces).Apply(ctx, "argocd", ns, opts)
		if err == nil {
			_, err = d.kube.Resource(applications).Namespace("argocd").Apply(ctx, app.Name, &a, opts)
		}
		if err == nil {
			return nil
		}
		if err := wait(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	return err
}

// git runs git with the credentials of this platform.
func (d *deliverer) git(ctx context.Context, dir string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var out, errw bytes.Buffer
	c := exec.CommandContext(ctx, "git", append([]string{
		"-c", "user.name=bench", "-c", "user.email=bench@bench.example",
		"-c", "credential.helper=", "-c", "credential.helper=!" + filepath.Join(d.bin, "penstock") + " credential",
	}, args...)...)
	c.Dir = dir
	c.Env = append(os.Environ(), "PENSTOCK_DATA_DIR="+d.dir, "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null")
	c.Stdout, c.Stderr = &out, &errw
	c.WaitDelay = 5 * time.Second
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, tail(errw.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

// passage is one push on its way.
type passage struct {
	began, pushed, created, line, answered time.Time
	run                                    run
	app                                    *unstructured.Unstructured
}

// push changes the page and follows the push until the new page answers.
func (d *deliverer) push(ctx context.Context, n int) (t passage, err error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	page := fmt.Sprintf("version %d", n)
	if n > 0 {
		if err := app.SetPage(d.src, page); err != nil {
			return t, err
		}
		if _, err := d.git(ctx, d.src, "commit", "--quiet", "--all", "--message", page); err != nil {
			return t, err
		}
	}
	sha, err := d.git(ctx, d.src, "rev-parse", "HEAD")
	if err != nil {
		return t, err
	}
	t.began = time.Now()
	line := make(chan time.Time, 1)
	failed := make(chan error, 1)
	go func() {
		at, err := d.firstLine(ctx, sha)
		if err != nil {
			failed <- err
		}
		line <- at
	}()
	if _, err := d.git(ctx, d.src, "push", "--quiet", "origin", "main"); err != nil {
		return t, err
	}
	t.pushed = time.Now()
	if t.line = <-line; t.line.IsZero() {
		return t, <-failed
	}
	if err := d.awaitPage(ctx, page); err != nil {
		return t, errors.Join(err, d.explain(ctx, sha))
	}
	t.answered = time.Now()
	if t.run, err = d.findRun(ctx, sha); err != nil {
		return t, err
	}
	if err := d.awaitRun(ctx, &t.run); err != nil {
		return t, err
	}
	t.created = t.run.CreatedAt
	t.app, err = d.kube.Resource(applications).Namespace("argocd").Get(ctx, app.Name, metav1.GetOptions{})
	return t, err
}

// run is what the benchmark reads of a CI run.
type run struct {
	ID         int64     `json:"id"`
	SHA        string    `json:"commit"`
	Status     string    `json:"status"`
	Conclusion string    `json:"conclusion"`
	Message    string    `json:"message"`
	CreatedAt  time.Time `json:"createdAt"`
	StartedAt  time.Time `json:"startedAt"`
	FinishedAt time.Time `json:"completedAt"`
	Jobs       []struct {
		Key       string    `json:"key"`
		Message   string    `json:"message"`
		StartedAt time.Time `json:"startedAt"`
		Steps     []struct {
			Name       string    `json:"name"`
			Conclusion string    `json:"conclusion"`
			StartedAt  time.Time `json:"startedAt"`
			FinishedAt time.Time `json:"completedAt"`
		} `json:"steps"`
	} `json:"jobs"`
}

// findRun waits for the run of a commit.
func (d *deliverer) findRun(ctx context.Context, sha string) (r run, err error) {
	for {
		var list struct {
			Runs []run `json:"items"`
		}
		if err := d.api.Do(ctx, http.MethodGet, "/api/v1/runs?limit=20&repo="+url.QueryEscape(app.Source), nil, &list); err != nil {
			return r, err
		}
		for _, r := range list.Runs {
			if r.SHA == sha {
				return r, nil
			}
		}
		if err := wait(ctx, 5*time.Millisecond); err != nil {
			return r, fmt.Errorf("wait for the run of %s: %w", sha, err)
		}
	}
}

func (d *deliverer) awaitRun(ctx context.Context, r *run) error {
	for {
		if err := d.api.Do(ctx, http.MethodGet, fmt.Sprintf("/api/v1/runs/%d", r.ID), nil, r); err != nil {
			return err
		}
		if r.Status == "completed" {
			if r.Conclusion != "success" {
				return fmt.Errorf("run %d ended as %s %s", r.ID, r.Conclusion, r.Message)
			}
			return nil
		}
		if err := wait(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// firstLine returns when the first step's output reached a reader who follows.
func (d *deliverer) firstLine(ctx context.Context, sha string) (time.Time, error) {
	r, err := d.findRun(ctx, sha)
	if err != nil {
		return time.Time{}, err
	}
	body, err := d.api.Stream(ctx, http.MethodGet, fmt.Sprintf("/api/v1/runs/%d/logs?follow=1", r.ID), nil, "")
	if err != nil {
		return time.Time{}, err
	}
	defer body.Close()
	var seen strings.Builder
	for lines := bufio.NewScanner(body); lines.Scan(); {
		at := time.Now()
		// The command is echoed before it runs; its output is what counts.
		if text := lines.Text(); strings.HasSuffix(text, "the first line") && !strings.Contains(text, "echo") {
			return at, nil
		}
		if seen.Len() < 4000 {
			seen.WriteString(lines.Text() + "\n")
		}
	}
	return time.Time{}, fmt.Errorf("run %d never wrote its first line; it wrote: %s", r.ID, seen.String())
}

// explain says where a push got stuck.
func (d *deliverer) explain(ctx context.Context, sha string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	r, err := d.findRun(ctx, sha)
	if err != nil {
		return err
	}
	if r.Status == "completed" && r.Conclusion == "success" {
		a, err := d.kube.Resource(applications).Namespace("argocd").Get(ctx, app.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		return fmt.Errorf("the run succeeded; the Application says %v", a.Object["status"])
	}
	logs, _ := d.logs(ctx, r.ID)
	return fmt.Errorf("run %d is %s %s %s: %s", r.ID, r.Status, r.Conclusion, r.Message, tail(logs))
}

func (d *deliverer) logs(ctx context.Context, id int64) (string, error) {
	return d.run(ctx, 10*time.Second, "penstock", "ci", "logs", fmt.Sprint(id))
}

// awaitPage asks the gateway until the page answers.
func (d *deliverer) awaitPage(ctx context.Context, page string) error {
	c := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", gatewayAddr)
	}}}
	defer c.CloseIdleConnections()
	last := ""
	for {
		last = func() string {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+app.Host+"/", nil)
			if err != nil {
				return err.Error()
			}
			res, err := c.Do(req)
			if err != nil {
				return err.Error()
			}
			defer res.Body.Close()
			b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
			if err != nil {
				return err.Error()
			}
			return strings.TrimSpace(string(b))
		}()
		if last == page {
			return nil
		}
		if err := wait(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("wait for %q from the gateway: %w; the last answer was %q", page, err, last)
		}
	}
}

// pushManifest changes the number of replicas and watches the Deployment.
func (d *deliverer) pushManifest(ctx context.Context, replicas int) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if _, err := d.git(ctx, d.conf, "pull", "--quiet", "--rebase", "origin", "main"); err != nil {
		return 0, err
	}
	if err := app.SetReplicas(d.conf, replicas); err != nil {
		return 0, err
	}
	if _, err := d.git(ctx, d.conf, "commit", "--quiet", "--all", "--message", fmt.Sprint("replicas ", replicas)); err != nil {
		return 0, err
	}
	w, err := d.kube.Resource(deployments).Namespace(app.Namespace).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	defer w.Stop()
	began := time.Now()
	if _, err := d.git(ctx, d.conf, "push", "--quiet", "origin", "main"); err != nil {
		return 0, err
	}
	for e := range w.ResultChan() {
		u, ok := e.Object.(*unstructured.Unstructured)
		if !ok {
			continue
		}
		if n, _, _ := unstructured.NestedInt64(u.Object, "spec", "replicas"); n == int64(replicas) {
			return time.Since(began).Seconds(), nil
		}
	}
	return 0, errors.Join(errors.New("the Deployment did not change"), ctx.Err())
}

// text is the passage as a table.
func (t passage) text() string {
	var out strings.Builder
	at := func(when time.Time, what string) {
		if !when.IsZero() {
			fmt.Fprintf(&out, "%7.3f  %s\n", when.Sub(t.began).Seconds(), what)
		}
	}
	at(t.run.CreatedAt, "run recorded")
	at(t.pushed, "git push returned")
	for _, j := range t.run.Jobs {
		at(j.StartedAt, "job started")
		for _, s := range j.Steps {
			at(s.StartedAt, "  step begins: "+s.Name)
			at(s.FinishedAt, "  step ends")
		}
	}
	at(t.line, "first log line at a reader")
	at(t.run.FinishedAt, "run finished")
	for _, what := range []string{"startedAt", "finishedAt"} {
		s, _, _ := unstructured.NestedString(t.app.Object, "status", "operationState", what)
		if when, err := time.Parse(time.RFC3339, s); err == nil {
			at(when, "sync "+what+" (whole seconds)")
		}
	}
	at(t.answered, "the new version answers")
	return out.String()
}
