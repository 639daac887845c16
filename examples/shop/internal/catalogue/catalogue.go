// Package catalogue holds what the shop sells.
package catalogue

import (
	"errors"
	"slices"
)

// Product is one thing on the shelf. Prices are in cents.
type Product struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Description string `json:"description"`
	Price       int    `json:"price"`
}

// ErrUnknown says that nothing has that id.
var ErrUnknown = errors.New("no such product")

var products = []Product{
	{"valve", "Gate valve", "Opens and closes, on purpose.", 4900},
	{"turbine", "Pelton turbine", "Turns falling water into light.", 129900},
	{"gauge", "Pressure gauge", "Says how things are before they are bad.", 2450},
	{"seal", "Rubber seal", "Keeps inside what belongs inside.", 120},
}

// All returns every product in the order of the shelf.
func All() []Product { return slices.Clone(products) }

// Find returns the product with that id.
func Find(id string) (Product, error) {
	i := slices.IndexFunc(products, func(p Product) bool { return p.ID == id })
	if i < 0 {
		return Product{}, ErrUnknown
	}
	return products[i], nil
}
