package store_test

import (
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/host/store"
)

func TestTimesSortAsText(t *testing.T) {
	a := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	b := a.Add(time.Nanosecond)
	if store.FormatTime(a) >= store.FormatTime(b) {
		t.Error("order lost")
	}
	got, err := store.ParseTime(store.FormatTime(b))
	if err != nil || !got.Equal(b) {
		t.Errorf("%v, %v", got, err)
	}
	if z, err := store.ParseTime(store.FormatTime(time.Time{})); err != nil || !z.IsZero() {
		t.Errorf("zero: %v, %v", z, err)
	}
}
