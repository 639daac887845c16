package proxy

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/penstock-dev/penstock/internal/host/gateway/route"
)

// failure is an answer of the gateway itself.
type failure struct {
	code       int
	reason     string
	candidates []string     // hosts that may have been meant
	table      *route.Table // whose hosts a client on this machine gets to see
}

// maxListed bounds the hosts on a page.
const maxListed = 50

// failForward answers for a request that got no answer from its backend.
func (p *Proxy) failForward(w http.ResponseWriter, r *http.Request, backend string, err error) {
	var tooLate interface{ Timeout() bool }
	switch {
	case r.Context().Err() != nil || errors.Is(err, context.Canceled):
		p.stats.clientGone.Add(1)
		panic(http.ErrAbortHandler) // nobody is there to read an answer
	case errors.Is(err, errNoEndpoint):
		w.Header().Set("Retry-After", "1")
		p.fail(w, r, failure{code: http.StatusServiceUnavailable, reason: "Service " + backend + " cannot answer: " + p.why(backend)})
	case !isDial(err) && errors.As(err, &tooLate) && tooLate.Timeout():
		p.fail(w, r, failure{code: http.StatusGatewayTimeout, reason: "Service " + backend + " did not answer in time"})
	default:
		p.log.Debug("request failed", "backend", backend, "err", err)
		p.fail(w, r, failure{code: http.StatusBadGateway, reason: "Service " + backend + " could not be reached: " + cause(err)})
	}
}

func (p *Proxy) why(backend string) string {
	if b := p.live.Load().backends[backend]; b != nil && b.why != "" {
		return b.why
	}
	return "it has no endpoint"
}

// cause leaves out what only repeats the address.
func cause(err error) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return op.Op + ": " + op.Err.Error()
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return err.Error()
}

// fail writes the answer in the form that the client can read.
func (p *Proxy) fail(w http.ResponseWriter, r *http.Request, f failure) {
	p.stats.refusedByUs.Add(1)
	p.stats.answered(f.code)
	h := w.Header()
	h.Set("X-Penstock-Gateway", "1") // tells this answer from the application's
	h.Set("Cache-Control", "no-store")
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
		h.Set("Content-Type", "application/grpc")
		h.Set("Grpc-Status", grpcStatus(f.code))
		h.Set("Grpc-Message", url.PathEscape(f.reason))
		w.WriteHeader(http.StatusOK)
		return
	}
	if f.table != nil && local(r.RemoteAddr) {
		if len(f.candidates) == 0 {
			f.candidates = f.table.HostNames()
		}
	} else if f.table != nil {
		f.candidates = nil // names of Services are not for strangers
	}
	more := max(len(f.candidates)-maxListed, 0)
	f.candidates = f.candidates[:len(f.candidates)-more]
	h.Set("X-Content-Type-Options", "nosniff")
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		w.WriteHeader(f.code)
		var links []string
		for _, c := range f.candidates {
			links = append(links, authority(c, r.Host))
		}
		_ = page.Execute(w, map[string]any{"Code": f.code, "Status": http.StatusText(f.code), "Reason": f.reason, "Links": links, "More": more})
		return
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(f.code)
	fmt.Fprintf(w, "%d %s\n%s\n", f.code, http.StatusText(f.code), f.reason)
	if len(f.candidates) > 0 {
		io.WriteString(w, "hosts that answer here:\n")
		for _, c := range f.candidates {
			fmt.Fprintf(w, "  http://%s/\n", authority(c, r.Host))
		}
	}
	if more > 0 {
		fmt.Fprintf(w, "  and %d more\n", more)
	}
}

// authority gives host the port under which the client reached the gateway.
func authority(host, asked string) string {
	if _, port, err := net.SplitHostPort(asked); err == nil && port != "" {
		return host + ":" + port
	}
	return host
}

// local says whether the client is on this machine.
func local(remote string) bool {
	a, err := netip.ParseAddrPort(remote)
	return err == nil && a.Addr().Unmap().IsLoopback()
}

func grpcStatus(code int) string {
	switch code {
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return "12" // unimplemented
	case http.StatusGatewayTimeout:
		return "4" // deadline exceeded
	case http.StatusBadRequest:
		return "13" // internal
	}
	return "14" // unavailable: may be tried again
}

var page = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{.Code}} {{.Status}}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:42em;margin:12vh auto;padding:0 1em;color-scheme:light dark}h1{font-size:1.3em}</style>
<h1>{{.Code}} {{.Status}}</h1>
<p>{{.Reason}}.</p>
{{with .Links}}<p>Hosts that answer here:</p><ul>{{range .}}<li><a href="http://{{.}}/">{{.}}</a></li>{{end}}</ul>{{end}}
{{if .More}}<p>and {{.More}} more</p>{{end}}
<p><small>Penstock gateway</small></p>
</html>
`))
