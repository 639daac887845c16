// Package cart keeps what visitors intend to buy, in memory.
package cart

import (
	"errors"
	"fmt"
	"sync"

	"shop.example/shop/internal/catalogue"
)

// Limits: a cart is not a warehouse, and neither is our memory.
const (
	maxQuantity = 99
	maxCarts    = 10_000
)

// Errors that callers tell apart.
var (
	ErrQuantity = fmt.Errorf("quantity must be from 1 to %d", maxQuantity)
	ErrFull     = errors.New("too many carts, try again later")
)

// Line is one product in a cart.
type Line struct {
	catalogue.Product
	Quantity int `json:"quantity"`
}

// Cart is what one visitor intends to buy.
type Cart struct {
	Lines []Line `json:"lines"`
	Total int    `json:"total"` // cents
}

// Store keeps the carts of all visitors. The zero value is empty and ready.
type Store struct {
	mu    sync.Mutex
	carts map[string]map[string]int // visitor, product id -> quantity
}

// Add puts n more of a product into the visitor's cart.
func (s *Store) Add(visitor, product string, n int) (Cart, error) {
	if _, err := catalogue.Find(product); err != nil {
		return Cart{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	quantity := s.carts[visitor][product] + n
	if n < 1 || quantity > maxQuantity {
		return Cart{}, ErrQuantity
	}
	if s.carts[visitor] == nil {
		if len(s.carts) >= maxCarts {
			return Cart{}, ErrFull
		}
		if s.carts == nil {
			s.carts = map[string]map[string]int{}
		}
		s.carts[visitor] = map[string]int{}
	}
	s.carts[visitor][product] = quantity
	return price(s.carts[visitor]), nil
}

// Get returns the visitor's cart.
func (s *Store) Get(visitor string) Cart {
	s.mu.Lock()
	defer s.mu.Unlock()
	return price(s.carts[visitor])
}

// Empty takes everything out of the visitor's cart.
func (s *Store) Empty(visitor string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.carts, visitor)
}

// price turns quantities into lines, in the order of the shelf.
func price(quantities map[string]int) Cart {
	c := Cart{Lines: []Line{}}
	for _, p := range catalogue.All() {
		if n := quantities[p.ID]; n > 0 {
			c.Lines = append(c.Lines, Line{p, n})
			c.Total += n * p.Price
		}
	}
	return c
}
