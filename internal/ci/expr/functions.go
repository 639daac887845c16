package expr

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

func isContainer(v Value) bool {
	switch v.(type) {
	case *Array, *Object:
		return true
	}
	return false
}

func contains(args []Value, _ int) (Value, error) {
	switch in := args[0].(type) {
	case *Array:
		for _, item := range in.Items {
			if !isContainer(item) && !isContainer(args[1]) && equal(item, args[1]) {
				return true, nil
			}
		}
		return false, nil
	case *Object:
		return false, nil
	}
	if isContainer(args[1]) {
		return false, nil
	}
	return strings.Contains(fold(String(args[0])), fold(String(args[1]))), nil
}

func affix(has func(s, affix string) bool) func([]Value, int) (Value, error) {
	return func(args []Value, _ int) (Value, error) {
		if isContainer(args[0]) || isContainer(args[1]) {
			return false, nil
		}
		return has(fold(String(args[0])), fold(String(args[1]))), nil
	}
}

func join(args []Value, limit int) (Value, error) {
	list, ok := args[0].(*Array)
	if !ok {
		if isContainer(args[0]) {
			return "", nil
		}
		return String(args[0]), nil
	}
	separator := ","
	if len(args) > 1 && !isContainer(args[1]) {
		separator = String(args[1])
	}
	var b strings.Builder
	for i, item := range list.Items {
		if i > 0 {
			b.WriteString(separator)
		}
		b.WriteString(String(item))
		if 2*b.Len() > limit {
			return nil, errMemory
		}
	}
	return b.String(), nil
}

var errMemory = errors.New("The maximum allowed memory size was exceeded") //nolint:staticcheck // GitHub's words

func fromJSON(args []Value, _ int) (Value, error) {
	text := String(args[0])
	v, err := FromJSON(text)
	if err != nil {
		return nil, fmt.Errorf("Error parsing fromJson: %w", err) //nolint:staticcheck // GitHub's words
	}
	return v, nil
}

// format replaces {n} by the nth further argument; {{ and }} are braces.
func format(args []Value, limit int) (Value, error) {
	f := String(args[0])
	invalid := func() (Value, error) {
		return nil, fmt.Errorf("The following format string is invalid: %s", f) //nolint:staticcheck // GitHub's words
	}
	var b strings.Builder
	for i := 0; i < len(f); {
		next := strings.IndexAny(f[i:], "{}")
		if next < 0 {
			b.WriteString(f[i:])
			break
		}
		b.WriteString(f[i : i+next])
		i += next
		if i+1 < len(f) && f[i+1] == f[i] {
			b.WriteByte(f[i])
			i += 2
			continue
		}
		end := strings.IndexByte(f[i:], '}')
		if f[i] == '}' || end < 0 {
			return invalid()
		}
		n, err := strconv.ParseUint(f[i+1:i+end], 10, 8)
		if err != nil {
			return invalid()
		}
		if int(n)+1 >= len(args) {
			return nil, fmt.Errorf("The following format string references more arguments than were supplied: %s", f) //nolint:staticcheck // GitHub's words
		}
		b.WriteString(String(args[n+1]))
		if 2*b.Len() > limit {
			return nil, errMemory
		}
		i += end + 1
	}
	return b.String(), nil
}
