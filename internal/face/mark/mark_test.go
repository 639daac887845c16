package mark

import "testing"

func TestRun(t *testing.T) {
	for _, c := range []struct{ status, conclusion, word, mark string }{
		{"queued", "", "queued", "○"},
		{"waiting", "", "waiting", "◔"},
		{"in_progress", "", "running", "●"},
		{"completed", "success", "passed", "✓"},
		{"completed", "failure", "failed", "✗"},
		{"completed", "timed_out", "failed", "✗"},
		{"completed", "cancelled", "cancelled", "⊘"},
		{"completed", "skipped", "skipped", "»"},
		{"completed", "", "unknown", "?"},
		{"", "", "unknown", "?"},
	} {
		word := Run(c.status, c.conclusion)
		if word != c.word || Of(word) != c.mark {
			t.Errorf("Run(%q, %q) = %q %s, want %q %s", c.status, c.conclusion, word, Of(word), c.word, c.mark)
		}
	}
}

func TestShapesAreDistinct(t *testing.T) {
	seen := map[string]string{}
	for word, m := range marks {
		if other, ok := seen[m]; ok {
			t.Errorf("%s and %s have the same shape", word, other)
		}
		seen[m] = word
	}
}
