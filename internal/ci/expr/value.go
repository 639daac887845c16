package expr

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// Value is one of nil, bool, float64, string, *Array, *Object.
type Value any

// Array is a list. Two arrays are equal only when they are the same one.
type Array struct{ Items []Value }

// Object is a map that keeps its order. Keys are found without regard to case
// unless CaseSensitive is set (the env context on Linux).
type Object struct {
	CaseSensitive bool
	keys          []string
	values        []Value
	index         map[string]int
}

// NewArray returns an array of items.
func NewArray(items ...Value) *Array { return &Array{Items: items} }

// NewObject returns an empty object.
func NewObject() *Object { return &Object{} }

func (o *Object) fold(key string) string {
	if o.CaseSensitive {
		return key
	}
	return fold(key)
}

// Set sets key to v. A key that is there keeps its place and its spelling.
func (o *Object) Set(key string, v Value) {
	if o.index == nil {
		o.index = map[string]int{}
	}
	if i, ok := o.index[o.fold(key)]; ok {
		o.values[i] = v
		return
	}
	o.index[o.fold(key)] = len(o.keys)
	o.keys = append(o.keys, key)
	o.values = append(o.values, v)
}

// Get returns the value of key.
func (o *Object) Get(key string) (Value, bool) {
	i, ok := o.index[o.fold(key)]
	if !ok {
		return nil, false
	}
	return o.values[i], true
}

// Len returns the number of keys.
func (o *Object) Len() int { return len(o.keys) }

// Each calls fn for every key in order.
func (o *Object) Each(fn func(key string, v Value)) {
	for i, k := range o.keys {
		fn(k, o.values[i])
	}
}

// Kind names the kind of v: Null, Boolean, Number, String, Array, Object.
func Kind(v Value) string {
	switch v.(type) {
	case nil:
		return "Null"
	case bool:
		return "Boolean"
	case float64:
		return "Number"
	case string:
		return "String"
	case *Array:
		return "Array"
	}
	return "Object"
}

// Truthy is how && || ! and conditions see v.
func Truthy(v Value) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case float64:
		return v != 0 && v == v
	case string:
		return v != ""
	}
	return true
}

// String is v as text.
func String(v Value) string {
	switch v := v.(type) {
	case nil:
		return ""
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return formatNumber(v)
	case string:
		return v
	}
	return Kind(v)
}

func toNumber(v Value) float64 {
	switch v := v.(type) {
	case nil:
		return 0
	case bool:
		if v {
			return 1
		}
		return 0
	case float64:
		return v
	case string:
		return parseNumber(v)
	}
	return math.NaN()
}

var decimal = regexp.MustCompile(`^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$`)

// parseNumber reads a number literal or a string used as a number; NaN when s
// is neither.
func parseNumber(s string) float64 {
	s = strings.TrimSpace(s)
	switch s {
	case "":
		return 0
	case "Infinity", "+Infinity":
		return math.Inf(1)
	case "-Infinity":
		return math.Inf(-1)
	}
	if decimal.MatchString(s) {
		f, _ := strconv.ParseFloat(s, 64) // out of range gives an infinity, which is the value wanted
		return f
	}
	for prefix, base := range map[string]int{"0x": 16, "0o": 8} {
		if digits, ok := strings.CutPrefix(s, prefix); ok && digits != "" && digits[0] != '+' && digits[0] != '-' {
			if n, err := strconv.ParseUint(digits, base, 64); err == nil {
				return float64(n)
			}
		}
	}
	return math.NaN()
}

// formatNumber prints up to 15 significant digits, with an exponent from
// 1E+15 up and below 1E-04.
func formatNumber(f float64) string {
	switch {
	case f != f:
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	case f == 0:
		return "0"
	}
	s := strconv.FormatFloat(f, 'E', 14, 64)
	mantissa, exponent, _ := strings.Cut(s, "E")
	exp, _ := strconv.Atoi(exponent)
	if exp > -5 && exp < 15 {
		s = strconv.FormatFloat(f, 'f', 14-exp, 64)
		if strings.Contains(s, ".") {
			s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
		}
		return s
	}
	if strings.Contains(mantissa, ".") {
		mantissa = strings.TrimRight(strings.TrimRight(mantissa, "0"), ".")
	}
	return mantissa + "E" + exponent
}

// fold maps s to the form in which strings compare: upper case, one rune at a
// time, as ordinal comparison without case does.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		if r == 'ı' || r == 'ſ' { // have an upper case only outside the invariant culture
			return r
		}
		return unicode.ToUpper(r)
	}, s)
}

// coerce brings both sides of a comparison to one kind.
func coerce(a, b Value) (Value, Value) {
	if Kind(a) == Kind(b) {
		return a, b
	}
	isPrimitive := func(v Value) bool {
		switch v.(type) {
		case *Array, *Object:
			return false
		}
		return true
	}
	if isPrimitive(a) && isPrimitive(b) {
		return toNumber(a), toNumber(b)
	}
	return a, b
}

func equal(a, b Value) bool {
	a, b = coerce(a, b)
	if Kind(a) != Kind(b) {
		return false
	}
	switch a := a.(type) {
	case nil:
		return true
	case string:
		return fold(a) == fold(b.(string))
	}
	return a == b // NaN is not equal to itself, containers are equal to themselves only
}

// less tells a < b and whether the two can be ordered at all.
func less(a, b Value) (isLess, ordered bool) {
	a, b = coerce(a, b)
	if Kind(a) != Kind(b) {
		return false, false
	}
	switch a := a.(type) {
	case bool:
		return !a && b.(bool), true
	case float64:
		bn := b.(float64)
		return a < bn, a == a && bn == bn
	case string:
		return fold(a) < fold(b.(string)), true
	}
	return false, false
}
