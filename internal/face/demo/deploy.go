package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// deploy pushes a version of the shop and follows it until dev answers with it.
func (d *Demo) deploy(ctx context.Context, shop *workCopy, name, tagline string) (Round, error) {
	r := Round{Name: name, URLs: []string{d.url(dev)}}
	if err := shop.replace("web/index.html", `<p id="tagline">`, "</p>", tagline); err != nil {
		return r, err
	}
	var err error
	if r.Commit, _, err = shop.commit(ctx, "Say something new"); err != nil {
		return r, failed("commit", shopRepo, err)
	}
	before, err := d.application(ctx, dev.app)
	if err != nil {
		return r, err
	}

	topic := func(what string) string { return name + ": " + what }
	push := time.Now()
	d.board.begin(topic("git push"), shopRepo+" "+short(r.Commit))
	if err := shop.push(ctx); err != nil {
		return r, failed("push", shopRepo, err)
	}
	d.board.end(topic("git push"), "passed", shopRepo+" "+short(r.Commit))
	r.reached("git push", push, push)
	pushed := time.Now()
	for _, next := range []struct{ what, detail string }{
		{"workflow", ""}, {"sync", "for the deploy job's commit"}, {"answer", d.url(dev)},
	} {
		d.board.set(topic(next.what), "waiting", next.detail, nil)
	}

	var (
		followed          run
		firstLog          time.Time
		synced, answering time.Time
	)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		followed, firstLog, err = d.followRun(gctx, topic("workflow"), r.Commit)
		return err
	})
	g.Go(func() (err error) {
		synced, err = d.followSync(gctx, topic("sync"), before)
		return err
	})
	g.Go(func() (err error) {
		if err = d.waitAnswer(gctx, dev, r.Commit, tagline); err != nil {
			return err
		}
		answering = time.Now()
		d.board.end(topic("answer"), "passed", d.url(dev)+" says "+short(r.Commit))
		return nil
	})
	if err := g.Wait(); err != nil {
		waiting := d.board.unfinished()
		d.board.stop("cancelled")
		if errors.Is(err, problem.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) {
			return r, &problem.Error{
				Op: "follow the push of", Subject: short(r.Commit), Code: problem.ExitTimeout,
				Err:  fmt.Errorf("%w while waiting for %s", problem.ErrTimeout, strings.Join(waiting, "; ")),
				Hint: "penstock app get " + dev.app + "; penstock ci list",
			}
		}
		return r, err
	}

	r.Run = followed.ID
	r.reachedAt("first log line", pushed, firstLog, push)
	for _, j := range followed.Jobs {
		r.reachedAt("job "+j.Name, j.StartedAt, j.CompletedAt, push)
	}
	deployed := followed.lastJob().CompletedAt
	r.reachedAt("sync", earlier(deployed, synced), synced, push)
	r.reachedAt("answering", synced, answering, push)
	return r, nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func short(commit string) string { return commit[:min(8, len(commit))] }
