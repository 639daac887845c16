package expr

import (
	"fmt"
	"math"
	"strings"
)

// Env gives an evaluation its meaning.
type Env struct {
	// Values by lower-case name. A name the parser knew and that is missing
	// here is null.
	Values map[string]Value
	// Functions by lower-case name, besides the built-in ones.
	Functions map[string]func(args []Value) (Value, error)
	// Memory bounds the bytes held at once, DefaultMemory when 0.
	Memory int
}

// Evaluate computes the expression. An error is an [*Error].
func (e *Expr) Evaluate(env Env) (Value, error) {
	ev := &evaluation{env: env, limit: env.Memory}
	if ev.limit == 0 {
		ev.limit = DefaultMemory
	}
	v, _, err := ev.eval(e.root)
	if err != nil {
		return nil, &Error{Stage: Evaluation, Message: err.Error(), Offset: -1, Text: e.text}
	}
	return v, nil
}

type evaluation struct {
	env   Env
	limit int
	used  int
}

// eval computes n. While it does, the memory of what it computed is counted;
// afterwards only that of its result. filtered says that the result came from
// a wildcard, so that a further index applies to every item.
func (e *evaluation) eval(n node) (v Value, filtered bool, err error) {
	before := e.used
	switch n := n.(type) {
	case literal:
		v = n.value
	case named:
		return e.env.Values[n.name], false, nil // held by the caller
	case not:
		v, _, err = e.eval(n.of)
		v = !Truthy(v)
	case logical:
		for _, term := range n.terms {
			if v, _, err = e.eval(term); err != nil || Truthy(v) != n.and {
				break
			}
		}
	case compare:
		v, err = e.compare(n)
	case index:
		v, filtered, err = e.index(n)
	case call:
		v, err = e.call(n)
	default:
		err = fmt.Errorf("unknown node %T", n)
	}
	if err != nil {
		return nil, false, err
	}
	e.used = before
	return v, filtered, e.hold(v)
}

func (e *evaluation) hold(v Value) error {
	size := 24
	if s, ok := v.(string); ok {
		size += 2 * len(s)
	}
	if e.used += size; e.used > e.limit {
		return errMemory
	}
	return nil
}

func (e *evaluation) compare(n compare) (Value, error) {
	a, _, err := e.eval(n.a)
	if err != nil {
		return nil, err
	}
	b, _, err := e.eval(n.b)
	if err != nil {
		return nil, err
	}
	switch n.op {
	case "==":
		return equal(a, b), nil
	case "!=":
		return !equal(a, b), nil
	case "<":
		l, ok := less(a, b)
		return ok && l, nil
	case ">":
		l, ok := less(b, a)
		return ok && l, nil
	case "<=":
		l, ok := less(a, b)
		return ok && l || equal(a, b), nil
	}
	l, ok := less(b, a)
	return ok && l || equal(a, b), nil
}

func (e *evaluation) index(n index) (Value, bool, error) {
	of, filtered, err := e.eval(n.of)
	if err != nil {
		return nil, false, err
	}
	if _, all := n.by.(wildcard); all {
		return star(of, filtered), true, nil
	}
	by, _, err := e.eval(n.by)
	if err != nil {
		return nil, false, err
	}
	if !filtered {
		v, _ := at(of, by)
		return v, false, nil
	}
	out := NewArray()
	for _, item := range of.(*Array).Items {
		if v, ok := at(item, by); ok {
			out.Items = append(out.Items, v)
		}
	}
	return out, true, nil
}

// star lists the items of a container; of a filtered list, the items of its
// items.
func star(of Value, filtered bool) *Array {
	out := NewArray()
	add := func(v Value) {
		switch v := v.(type) {
		case *Array:
			out.Items = append(out.Items, v.Items...)
		case *Object:
			out.Items = append(out.Items, v.values...)
		}
	}
	if filtered {
		for _, item := range of.(*Array).Items {
			add(item)
		}
		return out
	}
	add(of)
	return out
}

// at is of[by].
func at(of, by Value) (Value, bool) {
	switch by.(type) {
	case *Array, *Object:
		return nil, false
	}
	switch of := of.(type) {
	case *Object:
		return of.Get(String(by))
	case *Array:
		i := math.Floor(toNumber(by))
		if i >= 0 && i < float64(len(of.Items)) { // false for NaN
			return of.Items[int(i)], true
		}
	}
	return nil, false
}

func (e *evaluation) call(n call) (Value, error) {
	if n.name == "case" {
		return e.caseOf(n)
	}
	args := make([]Value, len(n.args))
	for i, a := range n.args {
		v, _, err := e.eval(a)
		if err != nil {
			return nil, err
		}
		args[i] = v
	}
	if f, ok := builtins[n.name]; ok {
		return f.run(args, e.limit)
	}
	f, ok := e.env.Functions[n.name]
	if !ok {
		return nil, fmt.Errorf("function %s is not available here", n.name)
	}
	return f(args)
}

// caseOf evaluates only the predicates up to the first true one, and its value.
func (e *evaluation) caseOf(n call) (Value, error) {
	for i := 0; i+1 < len(n.args); i += 2 {
		p, _, err := e.eval(n.args[i])
		if err != nil {
			return nil, err
		}
		b, ok := p.(bool)
		if !ok {
			return nil, fmt.Errorf("case predicate must evaluate to a boolean value")
		}
		if b {
			v, _, err := e.eval(n.args[i+1])
			return v, err
		}
	}
	v, _, err := e.eval(n.args[len(n.args)-1])
	return v, err
}

type builtin struct {
	Function
	run func(args []Value, limit int) (Value, error)
}

const many = 255

// builtins are the functions every expression has.
var builtins = map[string]builtin{
	"case":       {Function{3, many}, nil}, // evaluated lazily
	"contains":   {Function{2, 2}, contains},
	"startswith": {Function{2, 2}, affix(strings.HasPrefix)},
	"endswith":   {Function{2, 2}, affix(strings.HasSuffix)},
	"format":     {Function{1, many}, format},
	"join":       {Function{1, 2}, join},
	"tojson":     {Function{1, 1}, func(a []Value, _ int) (Value, error) { return ToJSON(a[0]), nil }},
	"fromjson":   {Function{1, 1}, fromJSON},
}
