package runner

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

func TestMask(t *testing.T) {
	m := newMasker()
	for _, s := range []string{"abcdef", "defghi", "line one\nline two", `quo"te&rest`, "", "  ", "x"} {
		if s != "x" {
			m.add(s)
		}
	}
	for _, tc := range []struct{ in, want string }{
		{"nothing", "nothing"},
		{"abcdef", "***"},
		{"1abcdef2abcdef", "1***2***"},
		{"abcdefghi", "***"}, // overlapping secrets are covered as a whole
		{"abcdeabcdef", "abcde***"},
		{"see line one and line two.", "see *** and ***."},
		{"abcde", "abcde"},
		{"", ""},
		{"ÄabcdefÖ", "Ä***Ö"},
	} {
		if got := m.mask(tc.in); got != tc.want {
			t.Errorf("mask(%q) = %q, want %q", tc.in, got, tc.want)
		}
	}
}

// TestMaskEncodings prints a secret the ways tools do.
func TestMaskEncodings(t *testing.T) {
	const secret = `p@ss "w0rd"&<more>'ö`
	m := newMasker()
	m.add(secret)
	j, err := json.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{
		"json": string(j), "uri": strings.ReplaceAll(url.QueryEscape(secret), "+", "%20"), "form": url.QueryEscape(secret),
		"base64": base64.StdEncoding.EncodeToString([]byte(secret)), "command line": strings.ReplaceAll(secret, `"`, `\"`),
		"expression": strings.ReplaceAll(secret, "'", "''"), "xml": "p@ss &quot;w0rd&quot;&amp;&lt;more&gt;&apos;ö",
	} {
		if got := m.mask(text); !strings.Contains(got, masked) || strings.Contains(got, "w0rd") {
			t.Errorf("%s: %q stays %q", what, text, got)
		}
	}
	for shift := range 3 {
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("u", shift) + secret + ":tail"))
		if got := m.mask(text); !strings.Contains(got, masked) || len(got) > 24 {
			t.Errorf("base64 after %d bytes: %q", shift, got)
		}
	}
}

// TestMaskAcrossWrites: a secret written in pieces, and in a line that is too
// long to wait for its end.
func TestMaskAcrossWrites(t *testing.T) {
	m := newMasker()
	m.add("sekret-value")
	var got []string
	w := &lines{emit: func(l string) { got = append(got, m.mask(l)) }, mask: m}
	for _, p := range []string{"a sek", "ret-", "value b\nsekret", "-value\r\nx\ry"} {
		if _, err := w.Write([]byte(p)); err != nil {
			t.Fatal(err)
		}
	}
	w.close()
	if want := "[a *** b *** x y]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
	// The limit falls inside the secret wherever it is.
	for offset := range 20 {
		got = nil
		long := strings.Repeat("z", maxLine-offset) + "sekret-value" + strings.Repeat("y", 30)
		w := &lines{emit: func(l string) { got = append(got, m.mask(l)) }, mask: m}
		for i := 0; i < len(long); i += 7 {
			if _, err := w.Write([]byte(long[i:min(i+7, len(long))])); err != nil {
				t.Fatal(err)
			}
		}
		w.close()
		if all := strings.Join(got, ""); all != strings.Repeat("z", maxLine-offset)+masked+strings.Repeat("y", 30) {
			t.Errorf("offset %d: secret not masked as a whole", offset)
		}
	}
}

func FuzzMask(f *testing.F) {
	f.Add("abc", "bcd", "xabcdx")
	f.Add("a\nb", "aa", "aaab")
	f.Fuzz(func(t *testing.T, one, two, text string) {
		m := newMasker()
		m.add(one)
		m.add(two)
		covered := make([]bool, len(text))
		for _, sp := range m.spans(text) {
			for i := sp.from; i < sp.to; i++ {
				covered[i] = true
			}
		}
		for _, s := range []string{one, two} {
			if strings.TrimSpace(s) == "" || strings.ContainsAny(s, "\r\n") {
				continue // masked by line
			}
			for i := range len(text) {
				if !strings.HasPrefix(text[i:], s) {
					continue
				}
				for j := i; j < i+len(s); j++ {
					if !covered[j] {
						t.Fatalf("%q at %d of %q is not covered", s, i, text)
					}
				}
			}
		}
	})
}

func BenchmarkMask(b *testing.B) {
	m := newMasker()
	for i := range 20 {
		m.add(fmt.Sprintf("secret-%d-%s", i, strings.Repeat("x", 20)))
	}
	line := strings.Repeat("an ordinary line of output without anything to hide ", 2)
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		m.mask(line)
	}
}
