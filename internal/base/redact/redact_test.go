package redact

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

func hide(t testing.TB, m *Masker, secret string) {
	t.Helper()
	if err := m.Add(secret); err != nil {
		t.Fatal(err)
	}
}

// TestManyMasks: more than the automaton takes still hides, and there is an end.
func TestManyMasks(t *testing.T) {
	m := New()
	for i := range 300 {
		hide(t, m, fmt.Sprintf("%d-%s", i, strings.Repeat("x", 200)))
	}
	if len(m.overflow) == 0 || len(m.found) > maxAutomaton+1 {
		t.Errorf("%d patterns beyond the automaton of %d states", len(m.overflow), len(m.found))
	}
	for _, i := range []int{0, 150, 299} {
		if got := m.Mask(fmt.Sprintf("a %d-%s b", i, strings.Repeat("x", 200))); got != "a *** b" {
			t.Errorf("secret %d: %q", i, got)
		}
	}
	var err error
	for i := 0; err == nil && i < 2*maxPatterns; i++ {
		err = m.Add(fmt.Sprintf("secret number %d", i))
	}
	if !errors.Is(err, ErrTooMany) {
		t.Errorf("no end of masks: %v", err)
	}
}

func TestMask(t *testing.T) {
	m := New()
	for _, s := range []string{"abcdef", "defghi", "line one\nline two", `quo"te&rest`, "", "  ", "x"} {
		if s != "x" {
			hide(t, m, s)
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
		if got := m.Mask(tc.in); got != tc.want {
			t.Errorf("mask(%q) = %q, want %q", tc.in, got, tc.want)
		}
	}
}

// TestMaskEncodings prints a secret the ways tools do.
func TestMaskEncodings(t *testing.T) {
	const secret = `p@ss "w0rd"&<more>'ö`
	m := New()
	hide(t, m, secret)
	j, err := json.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{
		"json": string(j), "uri": strings.ReplaceAll(url.QueryEscape(secret), "+", "%20"), "form": url.QueryEscape(secret),
		"base64": base64.StdEncoding.EncodeToString([]byte(secret)), "command line": strings.ReplaceAll(secret, `"`, `\"`),
		"expression": strings.ReplaceAll(secret, "'", "''"), "xml": "p@ss &quot;w0rd&quot;&amp;&lt;more&gt;&apos;ö",
	} {
		if got := m.Mask(text); !strings.Contains(got, Hidden) || strings.Contains(got, "w0rd") {
			t.Errorf("%s: %q stays %q", what, text, got)
		}
	}
	for shift := range 3 {
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("u", shift) + secret + ":tail"))
		if got := m.Mask(text); !strings.Contains(got, Hidden) || len(got) > 24 {
			t.Errorf("base64 after %d bytes: %q", shift, got)
		}
	}
}

func FuzzMask(f *testing.F) {
	f.Add("abc", "bcd", "xabcdx")
	f.Add("a\nb", "aa", "aaab")
	f.Fuzz(func(t *testing.T, one, two, text string) {
		m := New()
		hide(t, m, one)
		hide(t, m, two)
		covered := make([]bool, len(text))
		for _, sp := range m.spans(text) {
			for i := sp.from; i < sp.to; i++ {
				covered[i] = true
			}
		}
		for _, s := range []string{one, two} {
			if strings.TrimSpace(s) == "" || strings.ContainsAny(s, "\r\n") {
				continue // Hidden by line
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
	m := New()
	for i := range 20 {
		hide(b, m, fmt.Sprintf("secret-%d-%s", i, strings.Repeat("x", 20)))
	}
	line := strings.Repeat("an ordinary line of output without anything to hide ", 2)
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		m.Mask(line)
	}
}
