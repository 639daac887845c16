package proxy

import (
	"context"
	"math/rand/v2"
	"net/http"

	"github.com/penstock-dev/penstock/internal/host/gateway/route"
)

// act does what a rule of an HTTPRoute says before the request is sent on, and
// chooses the backend. ok is false when it has answered.
func (p *Proxy) act(w http.ResponseWriter, r *http.Request, a *route.Action) (backend string, ok bool) {
	if a.Redirect != nil {
		h := w.Header()
		h.Set("Location", a.Redirect.Location(r.Host, r.URL))
		a.ResponseHeaders.Apply(h)
		p.stats.answered(a.Redirect.Code)
		w.WriteHeader(a.Redirect.Code)
		return "", false
	}
	chosen, ok := a.Pick(rand.Uint64()) //nolint:gosec // shares of traffic, no secret
	if !ok {
		p.fail(w, r, failure{code: http.StatusInternalServerError, reason: "the rule of the HTTPRoute has no backend with a weight"})
		return "", false
	}
	if chosen.Backend == "" {
		p.fail(w, r, failure{code: http.StatusInternalServerError, reason: chosen.Why})
		return "", false
	}
	return chosen.Backend, true
}

// edit changes an outgoing request as the rule says.
func edit(out *http.Request, a *route.Action) {
	if a == nil {
		return
	}
	if host := a.Rewrite.Apply(out.URL); host != "" {
		out.Host = host
	}
	a.RequestHeaders.Apply(out.Header)
	// The Host header is not among the others.
	if host := out.Header.Get("Host"); host != "" {
		out.Host = host
		out.Header.Del("Host")
	}
}

// tooLate ends a request whose rule has a timeout.
type tooLate struct{}

func (tooLate) Error() string { return "the time that its HTTPRoute gives it is over" }
func (tooLate) Timeout() bool { return true }

// limitTime bounds a request by the timeout of its rule.
func limitTime(ctx context.Context, a *route.Action) (context.Context, context.CancelFunc) {
	if a == nil || a.Timeout <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, a.Timeout, tooLate{})
}
