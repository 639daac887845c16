package logstore

import (
	"fmt"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/internal/base/redact"
)

// TestMaskAcrossWrites: a secret written in pieces, and in a line that is too
// long to wait for its end.
func TestMaskAcrossWrites(t *testing.T) {
	m := redact.New()
	if err := m.Add("sekret-value"); err != nil {
		t.Fatal(err)
	}
	var got []string
	w := NewLines(m, func(l string) { got = append(got, m.Mask(l)) })
	for _, p := range []string{"a sek", "ret-", "value b\nsekret", "-value\r\nx\ry"} {
		if _, err := w.Write([]byte(p)); err != nil {
			t.Fatal(err)
		}
	}
	w.Flush()
	if want := "[a *** b *** x y]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
	// The limit falls inside the secret wherever it is.
	for offset := range 20 {
		got = nil
		long := strings.Repeat("z", MaxRow-offset) + "sekret-value" + strings.Repeat("y", 30)
		w := NewLines(m, func(l string) { got = append(got, m.Mask(l)) })
		for i := 0; i < len(long); i += 7 {
			if _, err := w.Write([]byte(long[i:min(i+7, len(long))])); err != nil {
				t.Fatal(err)
			}
		}
		w.Flush()
		if all := strings.Join(got, ""); all != strings.Repeat("z", MaxRow-offset)+redact.Hidden+strings.Repeat("y", 30) {
			t.Errorf("offset %d: secret not masked as a whole", offset)
		}
	}
}
