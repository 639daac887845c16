package proxy

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httputil"

	"github.com/penstock-dev/penstock/internal/host/gateway/route"
)

// upgrade sends a request that asks for another protocol (WebSocket and
// others). Both directions then run until one side closes, or the gateway has
// waited long enough at its own stop.
func (p *Proxy) upgrade(w http.ResponseWriter, r *http.Request, backend string, action *route.Action) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(p.closing, cancel)()
	p.stats.upgraded.Add(1)
	defer p.stats.upgraded.Add(-1)

	var in *body
	if r.Body != nil && r.ContentLength != 0 {
		in = &body{src: r.Body, rc: http.NewResponseController(w), idle: p.opts.IdleBody}
		defer in.detach()
	}
	var used *endpoint
	defer func() {
		if used != nil {
			used.inFlight.Add(-1)
		}
	}()
	rp := httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL.Scheme = "http"
			pr.Out.URL.Host = "endpoint" // chosen by the transport
			pr.Out.Host = r.Host
			setForwarded(pr.Out.Header, r)
			edit(pr.Out, action)
			if in != nil {
				pr.Out.Body = in
			}
		},
		Transport: transportFunc(func(out *http.Request) (*http.Response, error) {
			res, e, err := p.try(out, backend, in, nil)
			if err == nil {
				used = e
				p.stats.answered(res.StatusCode)
			}
			return res, err
		}),
		ModifyResponse: func(res *http.Response) error {
			if action != nil {
				action.ResponseHeaders.Apply(res.Header)
			}
			return nil
		},
		FlushInterval: -1,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			p.failForward(w, r, backend, err)
		},
		ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
	rp.ServeHTTP(w, r.WithContext(ctx))
}

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
