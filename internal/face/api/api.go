// Package api is the HTTP API under /api/v1 and its OpenAPI description. Each
// noun has a file that declares the interface it reads and registers its
// routes; handlers hold no decisions.
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
)

// API collects routes on a mux. Make it with [New], let each noun register,
// then serve Handler.
type API struct {
	huma huma.API
	mux  *http.ServeMux
}

// Authenticator says who makes a request. It returns an error that wraps
// problem.ErrForbidden, and problem.ErrUnauthenticated for an unknown or
// missing token.
type Authenticator interface {
	Authenticate(r *http.Request) (user string, err error)
}

// apiVersion is the version of the API, not of the program behind it.
const apiVersion = "1"

// New returns an API whose every route under /api/ demands authentication;
// /livez and /version do not.
func New() *API {
	mux := http.NewServeMux()
	config := huma.DefaultConfig("Penstock", apiVersion)
	config.OpenAPIPath = "/api/openapi"
	config.DocsPath = "" // the page would load its script from elsewhere
	config.SchemasPath = "/api/schemas"
	config.CreateHooks = nil // answers without a "$schema" of their own
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}}
	config.Security = []map[string][]string{{"token": {}}}
	a := &API{mux: mux, huma: humago.New(mux, config)}
	a.base()
	return a
}

// base registers what is not about any noun.
func (a *API) base() {
	a.mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n"))
	})
	huma.Register(a.huma, huma.Operation{
		OperationID: "get-version", Method: http.MethodGet, Path: "/version", Summary: "Version of the server",
		Security: []map[string][]string{{}},
	}, func(context.Context, *struct{}) (*body[buildinfo.Info], error) {
		return &body[buildinfo.Info]{buildinfo.Get()}, nil
	})
}

// body is an answer with a JSON body and nothing else.
type body[T any] struct{ Body T }

// Handler serves the API to requests that auth knows.
func (a *API) Handler(auth Authenticator) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/") {
			user, err := auth.Authenticate(r)
			if err != nil {
				refuse(w, err)
				return
			}
			r = r.WithContext(context.WithValue(r.Context(), userKey{}, user))
		}
		h, pattern := a.mux.Handler(r)
		if pattern == "" {
			noRoute(w, r, h)
			return
		}
		if r.Body != nil && r.Body != http.NoBody {
			// Handlers read bodies under a deadline. Left in place it would
			// end the request when it passes, however long the work takes.
			r.Body = &relaxed{r.Body, http.NewResponseController(w)}
		}
		a.mux.ServeHTTP(w, r)
	})
}

type userKey struct{}

// User returns the authenticated user of a request's context.
func User(ctx context.Context) string {
	u, _ := ctx.Value(userKey{}).(string)
	return u
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
	for _, m := range []struct {
		is   error
		code int
	}{
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

// route describes an operation on a noun, as the OpenAPI file shows it.
func route(id, method, path, tag, summary string, codes ...int) huma.Operation {
	return huma.Operation{OperationID: id, Method: method, Path: path, Tags: []string{tag}, Summary: summary, Errors: codes, BodyReadTimeout: 10 * time.Second}
}
