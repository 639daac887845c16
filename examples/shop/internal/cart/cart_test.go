package cart

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"shop.example/shop/internal/catalogue"
)

func TestAdd(t *testing.T) {
	var s Store
	for _, c := range []struct {
		product string
		n       int
		total   int
		err     error
	}{
		{"seal", 2, 240, nil},
		{"valve", 1, 5140, nil},
		{"seal", 1, 5260, nil},
		{"seal", 0, 0, ErrQuantity},
		{"seal", -1, 0, ErrQuantity},
		{"seal", 97, 0, ErrQuantity}, // 3 are there
		{"unicorn", 1, 0, catalogue.ErrUnknown},
	} {
		cart, err := s.Add("a", c.product, c.n)
		if !errors.Is(err, c.err) || cart.Total != c.total {
			t.Errorf("Add(%s, %d) = total %d, %v; want %d, %v", c.product, c.n, cart.Total, err, c.total, c.err)
		}
	}
	if got := s.Get("b"); got.Total != 0 || len(got.Lines) != 0 {
		t.Errorf("a stranger's cart holds %v", got)
	}
	s.Empty("a")
	if got := s.Get("a"); got.Total != 0 {
		t.Errorf("emptied cart holds %v", got)
	}
}

func TestAddIsSafeForManyVisitors(t *testing.T) {
	var s Store
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if _, err := s.Add("same", "seal", 1); err != nil {
				t.Error(err)
			}
			if _, err := s.Add(fmt.Sprint(i), "valve", 1); err != nil {
				t.Error(err)
			}
		}()
	}
	wg.Wait()
	if got := s.Get("same"); got.Lines[0].Quantity != 50 {
		t.Errorf("50 seals were added, %d are there", got.Lines[0].Quantity)
	}
}

func TestCartsAreBounded(t *testing.T) {
	var s Store
	for i := range maxCarts {
		if _, err := s.Add(fmt.Sprint(i), "seal", 1); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Add("one more", "seal", 1); !errors.Is(err, ErrFull) {
		t.Errorf("got %v, want %v", err, ErrFull)
	}
	if _, err := s.Add("0", "seal", 1); err != nil {
		t.Errorf("a visitor with a cart is turned away: %v", err)
	}
}
