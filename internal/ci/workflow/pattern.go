package workflow

import (
	"fmt"
	"regexp"
	"strings"
)

// compilePattern translates a pattern of branches, tags or paths, without its
// leading "!": * is anything but a slash, ** is anything, a leading or middle
// **/ also matches no directory, ? and + repeat the character before them, [ ]
// is a set.
func compilePattern(pattern string) (*regexp.Regexp, error) {
	body := strings.TrimPrefix(pattern, "!")
	if body == "" {
		return nil, fmt.Errorf("empty pattern '%s'", pattern)
	}
	var b strings.Builder
	b.WriteString(`\A`)
	repeatable := false // whether ? or + has something before it
	for i := 0; i < len(body); {
		rest := body[i:]
		switch c := rest[0]; {
		case strings.HasPrefix(rest, "**/") && (i == 0 || body[i-1] == '/'):
			b.WriteString(`(?:.*/)?`)
			i += 3
			repeatable = false
		case strings.HasPrefix(rest, "**"):
			b.WriteString(`.*`)
			i += 2
			repeatable = false
		case c == '*':
			b.WriteString(`[^/]*`)
			i++
			repeatable = false
		case c == '?' || c == '+':
			if !repeatable {
				return nil, fmt.Errorf("'%c' in pattern '%s' has no character before it", c, pattern)
			}
			b.WriteByte(c)
			i++
			repeatable = false
		case c == '[':
			end := strings.IndexByte(rest, ']')
			if end < 2 {
				return nil, fmt.Errorf("'[' in pattern '%s' is not closed", pattern)
			}
			set := strings.NewReplacer(`\`, `\\`, `^`, `\^`, `[`, `\[`).Replace(rest[1:end])
			b.WriteString("[" + set + "]")
			i += end + 1
			repeatable = true
		case c == '\\' && len(rest) > 1:
			b.WriteString(regexp.QuoteMeta(rest[1:2]))
			i += 2
			repeatable = true
		default:
			r := []rune(rest)[0]
			b.WriteString(regexp.QuoteMeta(string(r)))
			i += len(string(r))
			repeatable = true
		}
	}
	re, err := regexp.Compile("(?s)" + b.String() + `\z`)
	if err != nil {
		return nil, fmt.Errorf("pattern '%s': %w", pattern, err)
	}
	return re, nil
}

// matchPatterns tells whether name is in the set the patterns describe: each
// one that matches adds it, or with a leading "!" takes it away.
func matchPatterns(patterns []string, name string) bool {
	in := false
	for _, p := range patterns {
		re, err := compilePattern(p)
		if err == nil && re.MatchString(name) {
			in = p[0] != '!'
		}
	}
	return in
}

// Change is what a push did to one ref.
type Change struct {
	Ref string // "refs/heads/main"
	// Paths that differ between before and after; Known is false when there is
	// nothing to compare with.
	Paths []string
	Known bool
}

// Matches tells whether the push starts the workflow.
func (f *Push) Matches(c Change) bool {
	if f == nil {
		return false
	}
	if tag, ok := strings.CutPrefix(c.Ref, "refs/tags/"); ok {
		if f.Tags == nil && f.TagsIgnore == nil {
			return f.Branches == nil && f.BranchesIgnore == nil
		}
		return selected(f.Tags, f.TagsIgnore, tag)
	}
	branch, ok := strings.CutPrefix(c.Ref, "refs/heads/")
	if !ok {
		return false
	}
	if f.Branches == nil && f.BranchesIgnore == nil {
		if f.Tags != nil || f.TagsIgnore != nil {
			return false
		}
	} else if !selected(f.Branches, f.BranchesIgnore, branch) {
		return false
	}
	if f.Paths == nil && f.PathsIgnore == nil || !c.Known {
		return true
	}
	for _, path := range c.Paths {
		if selected(f.Paths, f.PathsIgnore, path) {
			return true
		}
	}
	return false
}

// NeedsPaths tells whether the filter looks at changed paths.
func (f *Push) NeedsPaths() bool { return f != nil && (f.Paths != nil || f.PathsIgnore != nil) }

func selected(only, ignore []string, name string) bool {
	if only != nil {
		return matchPatterns(only, name)
	}
	return !matchPatterns(ignore, name)
}
