package catalogue

import (
	"errors"
	"testing"
)

func TestFind(t *testing.T) {
	p, err := Find("valve")
	if err != nil || p.Name != "Gate valve" {
		t.Errorf("Find(valve) = %v, %v", p, err)
	}
	if _, err := Find("nothing"); !errors.Is(err, ErrUnknown) {
		t.Errorf("Find(nothing): %v, want %v", err, ErrUnknown)
	}
}

func TestAllIsSellable(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range All() {
		if seen[p.ID] {
			t.Errorf("%s is there twice", p.ID)
		}
		seen[p.ID] = true
		if p.ID == "" || p.Name == "" || p.Description == "" || p.Price <= 0 {
			t.Errorf("incomplete: %+v", p)
		}
	}
	if len(seen) == 0 {
		t.Error("the shelf is empty")
	}
}

func TestAllIsACopy(t *testing.T) {
	All()[0].Price = 0
	if All()[0].Price == 0 {
		t.Error("a caller changed the shelf")
	}
}
