// Package api is the HTTP API under /api/v1 and its OpenAPI description. Each
// noun has a file that declares the interface it reads and registers its
// routes, each with what a caller must be allowed to do; handlers hold no
// decisions.
package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/penstock-dev/penstock/internal/base/buildinfo"
	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/identity"
	"github.com/penstock-dev/penstock/internal/host/observe"
)

// API collects routes on a mux. Make it with [New], let each noun register,
// then serve Handler.
type API struct {
	huma    huma.API
	mux     *http.ServeMux
	needs   map[string]need // by operation
	auth    Authenticator
	audit   Audit
	replays Replays
}

// Authenticator says who makes a request, and what they may do. Authenticate
// returns an error that wraps problem.ErrForbidden, and
// problem.ErrUnauthenticated for an unknown or missing token. An error of
// Allow that is no decision has a method Unavailable.
type Authenticator interface {
	Authenticate(r *http.Request) (identity.Principal, error)
	Allow(ctx context.Context, p identity.Principal, a identity.Action) error
}

// apiVersion is the version of the API, not of the program behind it.
const apiVersion = "1"

// New returns an API whose every route under /api/ demands authentication,
// except those that say that they need nothing; /livez and /version do not.
func New() *API {
	mux := http.NewServeMux()
	config := huma.DefaultConfig("Penstock", apiVersion)
	config.OpenAPIPath = "/api/openapi"
	config.DocsPath = "" // the page would load its script from elsewhere
	config.SchemasPath = "/api/schemas"
	config.CreateHooks = nil // answers without a "$schema" of their own
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token":   {Type: "http", Scheme: "bearer"},
		"session": {Type: "apiKey", In: "cookie", Name: identity.Cookie, Description: "writes carry the header " + identity.CSRFHeader + " with the csrf of /api/v1/me"},
	}
	config.Transformers = append(config.Transformers, withoutValues)
	config.Security = []map[string][]string{{"token": {}}, {"session": {}}}
	a := &API{mux: mux, huma: humago.New(mux, config), needs: map[string]need{}}
	a.huma.UseMiddleware(func(c huma.Context, next func(huma.Context)) {
		observe.SetRoute(c.Context(), c.Operation().Path)
		next(c)
	})
	a.base()
	return a
}

// base registers what is not about any noun.
func (a *API) base() {
	a.mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n"))
	})
	handle(a, huma.Operation{
		OperationID: "get-version", Method: http.MethodGet, Path: "/version", Summary: "Version of the server",
	}, need{kind: anybody}, nil, func(context.Context, *struct{}) (*body[buildinfo.Info], error) {
		return &body[buildinfo.Info]{buildinfo.Get()}, nil
	})
}

// body is an answer with a JSON body and nothing else.
type body[T any] struct{ Body T }

// Handler serves the API to requests that auth knows.
func (a *API) Handler(auth Authenticator) http.Handler {
	a.auth = auth
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, pattern := a.mux.Handler(r)
		ctx := context.WithValue(r.Context(), requestKey{}, request{id: w.Header().Get("X-Request-Id"), remote: remoteHost(r), http: r})
		if strings.HasPrefix(r.URL.Path, "/api/") && !a.open(pattern) {
			p, err := auth.Authenticate(r)
			if err != nil {
				refuse(w, err)
				return
			}
			ctx = context.WithValue(ctx, callerKey{}, p)
			w.Header().Set("Cache-Control", "no-store")
		}
		r = r.WithContext(ctx)
		if pattern == "" {
			noRoute(w, r, h)
			return
		}
		if r.Body != nil && r.Body != http.NoBody {
			// Handlers read bodies under a deadline. Left in place it would
			// end the request when it passes, however long the work takes.
			r.Body = &relaxed{r.Body, http.NewResponseController(w)}
		}
		if r.Method == http.MethodPost && r.Header.Get(idempotencyHeader) != "" {
			n, ok := a.needOf(pattern)
			a.once(w, r, n, ok)
			return
		}
		a.mux.ServeHTTP(w, r)
	})
}

// open says whether the route with this pattern needs no credentials.
func (a *API) open(pattern string) bool {
	n, ok := a.needOf(pattern)
	return ok && n.kind == anybody
}

// needOf returns what the route with this pattern ("GET /api/v1/me") needs.
func (a *API) needOf(pattern string) (need, bool) {
	method, path, _ := strings.Cut(pattern, " ")
	item := a.huma.OpenAPI().Paths[path]
	if item == nil {
		return need{}, false
	}
	op := map[string]*huma.Operation{
		http.MethodGet: item.Get, http.MethodPost: item.Post, http.MethodPut: item.Put,
		http.MethodPatch: item.Patch, http.MethodDelete: item.Delete,
	}[method]
	if op == nil {
		return need{}, false
	}
	n, ok := a.needs[op.OperationID]
	return n, ok
}

type callerKey struct{}

// Caller returns who makes the request of a context.
func Caller(ctx context.Context) (identity.Principal, bool) {
	p, ok := ctx.Value(callerKey{}).(identity.Principal)
	return p, ok
}

type requestKey struct{}

// request is what handlers may want to know of their HTTP request.
type request struct {
	id, remote string
	http       *http.Request
}

func requestOf(ctx context.Context) request {
	r, _ := ctx.Value(requestKey{}).(request)
	return r
}

// status turns an error of a room into the HTTP error with the right code.
func status(err error) error {
	if err == nil {
		return nil
	}
	var public huma.StatusError
	if errors.As(err, &public) {
		return err
	}
	if later, ok := retryAfter(err); ok {
		return huma.ErrorWithHeaders(huma.NewError(http.StatusTooManyRequests, err.Error()), http.Header{"Retry-After": {later}})
	}
	if unavailable(err) {
		return huma.NewError(http.StatusServiceUnavailable, err.Error())
	}
	for _, m := range []struct {
		is   error
		code int
	}{
		{problem.ErrUnauthenticated, http.StatusUnauthorized},
		{problem.ErrNotFound, http.StatusNotFound},
		{problem.ErrExists, http.StatusConflict},
		{problem.ErrInvalid, http.StatusUnprocessableEntity},
		{problem.ErrForbidden, http.StatusForbidden},
		{problem.ErrTimeout, http.StatusGatewayTimeout},
		{context.DeadlineExceeded, http.StatusGatewayTimeout},
	} {
		if errors.Is(err, m.is) {
			return huma.NewError(m.code, err.Error())
		}
	}
	return huma.NewError(http.StatusInternalServerError, err.Error())
}

// bodyTime is how long a request's body may take to arrive.
const bodyTime = 10 * time.Second

// route describes an operation on a noun, as the OpenAPI file shows it.
func route(id, method, path, tag, summary string, codes ...int) huma.Operation {
	return huma.Operation{OperationID: id, Method: method, Path: path, Tags: []string{tag}, Summary: summary, Errors: codes, BodyReadTimeout: bodyTime}
}
