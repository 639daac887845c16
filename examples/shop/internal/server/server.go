// Package server answers for the shop over HTTP: a small JSON API, the page,
// and what the cluster wants to know.
package server

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"sync/atomic"

	"shop.example/shop/internal/cart"
	"shop.example/shop/internal/catalogue"
)

const maxBody = 4 << 10

// Server is the shop. Make it with New.
type Server struct {
	version  string
	carts    cart.Store
	draining atomic.Bool
	mux      *http.ServeMux
}

// New returns a shop that says it is version and serves its page from the
// directory page.
func New(version, page string) *Server {
	s := &Server{version: version, mux: http.NewServeMux()}
	s.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") })
	s.mux.HandleFunc("GET /readyz", s.ready)
	s.mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]string{"version": s.version})
	})
	s.mux.HandleFunc("GET /api/products", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, catalogue.All()) })
	s.mux.HandleFunc("GET /api/cart", s.getCart)
	s.mux.HandleFunc("POST /api/cart", s.addToCart)
	s.mux.HandleFunc("DELETE /api/cart", s.emptyCart)
	s.mux.Handle("GET /", http.FileServer(http.Dir(page)))
	return s
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", "default-src 'self'")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	s.mux.ServeHTTP(w, r)
}

// Drain makes the shop say that it wants no new visitors.
func (s *Server) Drain() { s.draining.Store(true) }

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if s.draining.Load() {
		answer(w, http.StatusServiceUnavailable, "draining")
		return
	}
	answer(w, http.StatusOK, "ok")
}

func (s *Server) getCart(w http.ResponseWriter, r *http.Request) {
	answer(w, http.StatusOK, s.carts.Get(visitor(w, r)))
}

func (s *Server) addToCart(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Product  string `json:"product"`
		Quantity int    `json:"quantity"`
	}
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		answer(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return
	}
	c, err := s.carts.Add(visitor(w, r), in.Product, in.Quantity)
	switch {
	case errors.Is(err, catalogue.ErrUnknown):
		answer(w, http.StatusNotFound, map[string]string{"error": err.Error()})
	case errors.Is(err, cart.ErrFull):
		answer(w, http.StatusServiceUnavailable, map[string]string{"error": err.Error()})
	case err != nil:
		answer(w, http.StatusUnprocessableEntity, map[string]string{"error": err.Error()})
	default:
		answer(w, http.StatusOK, c)
	}
}

func (s *Server) emptyCart(w http.ResponseWriter, r *http.Request) {
	s.carts.Empty(visitor(w, r))
	w.WriteHeader(http.StatusNoContent)
}

// visitor tells visitors apart by a cookie and gives one to a new visitor.
func visitor(w http.ResponseWriter, r *http.Request) string {
	const name = "visitor"
	if c, err := r.Cookie(name); err == nil && len(c.Value) == 26 {
		return c.Value
	}
	id := rand.Text()
	http.SetCookie(w, &http.Cookie{Name: name, Value: id, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
	return id
}

func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // the visitor is gone: nothing to do
}
