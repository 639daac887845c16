package git

import "testing"

func FuzzRefText(f *testing.F) {
	for _, s := range []string{"refs/heads/main", "refs/heads/grün", "refs/heads/gr\xfcn", "\xff\xfe", "a\xe2\x82", "\uFFFD"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		for _, c := range ref {
			if c == '\\' {
				t.Skip("no name of a ref has a backslash")
			}
		}
		if got := fromText(asText(ref)); got != ref {
			t.Errorf("%q became %q", ref, got)
		}
	})
}
