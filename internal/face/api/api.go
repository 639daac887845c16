// Package api is the HTTP API under /api/v1 and its OpenAPI description. Each
// noun has a file that declares the interface it reads and registers its
// routes; handlers hold no decisions.
package api

import (
	"context"
	"errors"
	"net/http"
	"strings"

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
// problem.ErrForbidden for an unknown or missing token.
type Authenticator interface {
	Authenticate(r *http.Request) (user string, err error)
}

// New returns an API whose every route demands authentication, except
// /livez, /readyz and /version.
func New() *API {
	mux := http.NewServeMux()
	config := huma.DefaultConfig("Penstock", buildinfo.Get().Version)
	config.OpenAPIPath = "/api/openapi"
	config.DocsPath = "/api/docs"
	config.SchemasPath = "/api/schemas"
	a := &API{mux: mux, huma: humago.New(mux, config)}
	return a
}

// Handler serves the API to requests that auth knows.
func (a *API) Handler(auth Authenticator) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/") {
			user, err := auth.Authenticate(r)
			if err != nil {
				w.Header().Set("WWW-Authenticate", `Bearer realm="penstock"`)
				writeProblem(w, http.StatusUnauthorized, err.Error())
				return
			}
			r = r.WithContext(context.WithValue(r.Context(), userKey{}, user))
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
	for _, m := range []struct {
		is   error
		code int
	}{
		{problem.ErrNotFound, http.StatusNotFound},
		{problem.ErrExists, http.StatusConflict},
		{problem.ErrInvalid, http.StatusUnprocessableEntity},
		{problem.ErrForbidden, http.StatusForbidden},
		{problem.ErrTimeout, http.StatusGatewayTimeout},
	} {
		if errors.Is(err, m.is) {
			return huma.NewError(m.code, err.Error())
		}
	}
	return huma.NewError(http.StatusInternalServerError, err.Error())
}
