package actions

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// version is major.minor.patch.
type version [3]int

func (v version) String() string { return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2]) }

func (v version) less(w version) bool {
	for i := range v {
		if v[i] != w[i] {
			return v[i] < w[i]
		}
	}
	return false
}

var versionPattern = regexp.MustCompile(`^v?(\d+)(?:\.(\d+|[xX*]))?(?:\.(\d+|[xX*]))?$`)

// partial is a version of which the last numbers may be open.
type partial struct {
	v     version
	given int // how many numbers are given
}

func parsePartial(s string) (partial, error) {
	if s == "*" || s == "x" || s == "X" {
		return partial{}, nil
	}
	m := versionPattern.FindStringSubmatch(s)
	if m == nil {
		return partial{}, fmt.Errorf("'%s' is not a version", s)
	}
	var p partial
	for i, text := range m[1:] {
		if text == "" || strings.Contains("xX*", text) {
			return p, nil //nolint:nilerr // open from here on
		}
		n, err := strconv.Atoi(text)
		if err != nil {
			return partial{}, fmt.Errorf("'%s' is not a version: %w", s, err)
		}
		p.v[i] = n
		p.given = i + 1
	}
	return p, nil
}

// next is the first version after those that p covers.
func (p partial) next(at int) version {
	v := p.v
	for i := at; i < 3; i++ {
		v[i] = 0
	}
	v[at-1]++
	return v
}

// satisfies tells whether v is in the range: alternatives divided by ||, each
// of comparisons divided by blanks; x.y.z, x.y.x, ^, ~, >=, >, <=, <, =.
func satisfies(v version, spec string) (bool, error) {
	for _, alternative := range strings.Split(spec, "||") {
		all := true
		fields := strings.Fields(regexp.MustCompile(`([<>=~^])\s+`).ReplaceAllString(alternative, "$1"))
		if len(fields) == 0 {
			fields = []string{"*"}
		}
		for _, f := range fields {
			ok, err := compareOne(v, f)
			if err != nil {
				return false, err
			}
			all = all && ok
		}
		if all {
			return true, nil
		}
	}
	return false, nil
}

func compareOne(v version, f string) (bool, error) {
	op := f[:len(f)-len(strings.TrimLeft(f, "<>=~^"))]
	p, err := parsePartial(f[len(op):])
	if err != nil {
		return false, err
	}
	if p.given == 0 {
		return true, nil
	}
	within := func(upTo version) bool { return !v.less(p.v) && v.less(upTo) }
	switch op {
	case "", "=":
		return within(p.next(p.given)), nil
	case "~":
		return within(p.next(min(p.given, 2))), nil
	case "^":
		at := 1
		for at < p.given && p.v[at-1] == 0 {
			at++
		}
		return within(p.next(at)), nil
	case ">=":
		return !v.less(p.v), nil
	case "<":
		return v.less(p.v), nil
	case ">":
		return !v.less(p.next(p.given)), nil
	case "<=":
		return v.less(p.next(p.given)), nil
	}
	return false, fmt.Errorf("'%s' is not a comparison of versions", f)
}
