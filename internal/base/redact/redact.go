// Package redact hides secrets in text that people will read: in logs, names
// and messages. It knows each secret as it is, line by line, and in the
// encodings in which tools print it.
package redact

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"sort"
	"strings"
	"sync"
)

// Hidden is what stands in place of a secret.
const Hidden = "***"

// Masker replaces secrets, each of their lines and their usual encodings. All
// occurrences are found in one pass over the text (Aho-Corasick), overlapping
// ones are covered as a whole. Its methods may be called from any goroutine.
type Masker struct {
	mu       sync.RWMutex
	patterns map[string]bool // whether it is in the automaton
	size     int             // bytes of the patterns in the automaton
	overflow []string        // patterns beyond maxAutomaton, looked for one by one
	stale    bool            // the automaton lacks patterns
	longest  int
	class    [256]uint8 // byte -> column; 0 for bytes in no pattern
	columns  int
	next     []int32 // state*columns + column -> state
	found    []int   // length of the longest pattern that ends in a state
}

// New makes a Masker that hides nothing yet.
func New() *Masker { return &Masker{patterns: map[string]bool{}} }

// The automaton takes some 300 bytes of memory for each byte of a pattern.
const (
	maxAutomaton = 128 << 10
	maxPatterns  = 20_000
)

// ErrTooMany says that a job asks for more masks than there can be. What it asked
// to hide is not hidden then, so the step must fail.
var ErrTooMany = errors.New("there are too many masks")

// Add masks secret from now on.
func (m *Masker) Add(secret string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	values := append([]string{secret}, strings.FieldsFunc(secret, func(r rune) bool { return r == '\n' || r == '\r' })...)
	for _, v := range values {
		v = strings.TrimRight(v, "\r\n")
		if strings.TrimSpace(v) == "" {
			continue
		}
		for _, p := range append([]string{v}, encodings(v)...) {
			if _, ok := m.patterns[p]; ok || p == "" {
				continue
			}
			if len(m.patterns) >= maxPatterns {
				return ErrTooMany
			}
			m.longest = max(m.longest, len(p))
			if m.size+len(p) > maxAutomaton {
				m.patterns[p] = false
				m.overflow = append(m.overflow, p)
				continue
			}
			m.patterns[p] = true
			m.size += len(p)
			m.stale = true
		}
	}
	return nil
}

// minEncoded is the length below which a derived form is too likely to be
// something else.
const minEncoded = 5

// encodings gives the forms in which tools print a value.
func encodings(v string) []string {
	var out []string
	add := func(s string) {
		if len(s) >= minEncoded && s != v {
			out = append(out, s)
		}
	}
	add(base64.StdEncoding.EncodeToString([]byte(v)))
	add(base64.URLEncoding.EncodeToString([]byte(v)))
	for shift := range 3 { // inside a longer text that was encoded as a whole
		if len(v) > shift {
			rest := v[shift:]
			add(base64.StdEncoding.EncodeToString([]byte(rest[:len(rest)/3*3])))
		}
	}
	if b, err := json.Marshal(v); err == nil {
		add(string(b[1 : len(b)-1]))
	}
	add(strings.ReplaceAll(v, `"`, `\"`))                   // command line
	add(strings.ReplaceAll(v, "'", "''"))                   // expression string
	add(strings.ReplaceAll(url.QueryEscape(v), "+", "%20")) // URI data
	add(url.QueryEscape(v))
	add(strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&apos;").Replace(v))
	add(strings.Trim(v, `"`))
	if before, after, ok := strings.Cut(v, "&"); ok { // PowerShell prints the parts apart
		add(before)
		add(after)
	}
	return out
}

// build makes the automaton.
func (m *Masker) build() {
	m.stale = false
	m.class, m.columns = [256]uint8{}, 1
	list := make([]string, 0, len(m.patterns))
	for p, in := range m.patterns {
		if !in {
			continue
		}
		list = append(list, p)
		for i := range len(p) {
			if m.class[p[i]] == 0 && m.columns < 255 {
				m.class[p[i]] = uint8(m.columns)
				m.columns++
			}
		}
	}
	sort.Strings(list)
	m.next, m.found = make([]int32, m.columns), []int{0}
	for _, p := range list {
		state := int32(0)
		for i := range len(p) {
			at := int(state)*m.columns + int(m.class[p[i]])
			if m.next[at] == 0 {
				m.next[at] = int32(len(m.found))
				m.found = append(m.found, 0)
				m.next = append(m.next, make([]int32, m.columns)...)
			}
			state = m.next[at]
		}
		m.found[state] = len(p)
	}
	// Breadth first, fill the missing edges from the longest proper suffix.
	suffix := make([]int32, len(m.found))
	var queue []int32
	for c := range m.columns {
		if s := m.next[c]; s != 0 {
			queue = append(queue, s)
		}
	}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		if m.found[s] == 0 {
			m.found[s] = m.found[suffix[s]]
		}
		for c := range m.columns {
			at := int(s)*m.columns + c
			fall := m.next[int(suffix[s])*m.columns+c]
			if m.next[at] == 0 {
				m.next[at] = fall
				continue
			}
			suffix[m.next[at]] = fall
			queue = append(queue, m.next[at])
		}
	}
}

// span is a half-open range of bytes.
type span struct{ from, to int }

// spans finds the secrets in text, merged where they overlap or touch.
func (m *Masker) spans(text string) []span {
	m.mu.RLock()
	if m.stale {
		m.mu.RUnlock()
		m.mu.Lock()
		if m.stale {
			m.build()
		}
		m.mu.Unlock()
		m.mu.RLock()
	}
	defer m.mu.RUnlock()
	out := m.scan(text)
	for _, p := range m.overflow {
		for at := 0; ; {
			i := strings.Index(text[at:], p)
			if i < 0 {
				break
			}
			out = append(out, span{at + i, at + i + len(p)})
			at += i + 1
		}
	}
	if len(m.overflow) == 0 {
		return out
	}
	slices.SortFunc(out, func(a, b span) int { return a.from - b.from })
	merged := out[:0]
	for _, s := range out {
		if n := len(merged); n > 0 && merged[n-1].to > s.from {
			merged[n-1].to = max(merged[n-1].to, s.to)
			continue
		}
		merged = append(merged, s)
	}
	return merged
}

// scan runs the automaton over text.
func (m *Masker) scan(text string) []span {
	if len(m.found) < 2 {
		return nil
	}
	var out []span
	state := int32(0)
	for i := range len(text) {
		state = m.next[int(state)*m.columns+int(m.class[text[i]])]
		n := m.found[state]
		if n == 0 {
			continue
		}
		s := span{i + 1 - n, i + 1}
		for len(out) > 0 && out[len(out)-1].to > s.from {
			s.from = min(s.from, out[len(out)-1].from)
			out = out[:len(out)-1]
		}
		out = append(out, s)
	}
	return out
}

// Mask returns text with the secrets replaced.
func (m *Masker) Mask(text string) string {
	spans := m.spans(text)
	if len(spans) == 0 {
		return text
	}
	var b strings.Builder
	at := 0
	for _, s := range spans {
		b.WriteString(text[at:s.from])
		b.WriteString(Hidden)
		at = s.to
	}
	b.WriteString(text[at:])
	return b.String()
}

// Cut says how much of an unfinished text can be let go: a secret that may
// continue, or that the cut would divide, stays whole.
func (m *Masker) Cut(text string) int {
	m.mu.RLock()
	keep := max(m.longest-1, 0)
	m.mu.RUnlock()
	n := max(len(text)-keep, 0)
	for _, s := range m.spans(text) {
		if s.from < n && s.to > n {
			n = s.from
		}
	}
	return n
}

// Hides tells whether text holds a secret.
func (m *Masker) Hides(text string) bool { return len(m.spans(text)) > 0 }
