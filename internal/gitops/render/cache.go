package render

import (
	"container/list"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/base/id"
)

// Checkouts provides the files of a commit.
type Checkouts interface {
	// Checkout returns the directory of commit, relative to the base of the
	// pool. It stays until release is called.
	Checkout(ctx context.Context, repoURL, commit string) (dir string, release func(), err error)
}

// Renderer renders sources at commits and remembers what it rendered. What a
// commit renders to never changes, so results, mistakes in the files included,
// are kept until others push them out.
type Renderer struct {
	checkouts Checkouts
	pool      *Pool
	keep      int

	mu      sync.Mutex
	entries map[string]*entry
	order   *list.List // of keys of finished entries, most recently used first
}

type entry struct {
	done chan struct{} // closed when the fields below are set
	res  *Result
	err  error
	at   *list.Element
}

// NewRenderer returns a renderer that keeps up to keep results.
func NewRenderer(c Checkouts, p *Pool, keep int) *Renderer {
	return &Renderer{checkouts: c, pool: p, keep: max(keep, 1), entries: map[string]*entry{}, order: list.New()}
}

// Render returns the objects of source at commit. The objects are the
// caller's own.
func (r *Renderer) Render(ctx context.Context, source v1alpha1.Source, commit string) (*Result, error) {
	key, err := cacheKey(source, commit)
	if err != nil {
		return nil, err
	}
	for {
		e, mine := r.claim(key)
		if mine {
			res, err := r.render(ctx, source, commit)
			r.finish(key, e, res, err)
			return res.clone(), err
		}
		select {
		case <-e.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if e.res != nil || isContent(e.err) {
			return e.res.clone(), e.err
		}
		// Whoever rendered gave up for a reason of its own: try ourselves.
	}
}

func cacheKey(source v1alpha1.Source, commit string) (string, error) {
	source.TargetRevision = ""
	b, err := json.Marshal(source)
	if err != nil {
		return "", fmt.Errorf("encode the source: %w", err)
	}
	return id.Of(commit, string(b)), nil
}

func (r *Renderer) render(ctx context.Context, source v1alpha1.Source, commit string) (*Result, error) {
	dir, release, err := r.checkouts.Checkout(ctx, source.RepoURL, commit)
	if err != nil {
		return nil, err
	}
	defer release()
	return r.pool.Render(ctx, Request{Checkout: dir, Source: source})
}

// claim returns the entry of key, and whether the caller has to fill it.
func (r *Renderer) claim(key string) (*entry, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.entries[key]; ok {
		if e.at != nil {
			r.order.MoveToFront(e.at)
		}
		return e, false
	}
	e := &entry{done: make(chan struct{})}
	r.entries[key] = e
	return e, true
}

func (r *Renderer) finish(key string, e *entry, res *Result, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.res, e.err = res, err
	close(e.done)
	if err != nil && !isContent(err) {
		delete(r.entries, key)
		return
	}
	e.at = r.order.PushFront(key)
	for r.order.Len() > r.keep {
		last := r.order.Back()
		r.order.Remove(last)
		delete(r.entries, last.Value.(string))
	}
}

func isContent(err error) bool {
	var e *Error
	return errors.As(err, &e)
}

func (r *Result) clone() *Result {
	if r == nil {
		return nil
	}
	c := &Result{Type: r.Type, Objects: make([]*unstructured.Unstructured, len(r.Objects))}
	for i, o := range r.Objects {
		c.Objects[i] = o.DeepCopy()
	}
	return c
}
