package git

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// asText gives the name of a ref as the store can hold it: names are bytes to
// git, the store has text. A byte that is not UTF-8 becomes \x and two digits,
// which no name contains, for git allows no backslash in one.
func asText(ref string) string {
	if utf8.ValidString(ref) {
		return ref
	}
	var b strings.Builder
	for len(ref) > 0 {
		r, n := utf8.DecodeRuneInString(ref)
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, `\x%02x`, ref[0])
		} else {
			b.WriteString(ref[:n])
		}
		ref = ref[n:]
	}
	return b.String()
}

// fromText reads what asText gave.
func fromText(text string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, `\x`)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		if len(after) >= 2 {
			if n, err := strconv.ParseUint(after[:2], 16, 8); err == nil {
				b.WriteByte(byte(n))
				text = after[2:]
				continue
			}
		}
		b.WriteString(`\x`)
		text = after
	}
}
