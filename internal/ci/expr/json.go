package expr

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// FromJSON reads one JSON text as a value; the order of keys is kept.
func FromJSON(text string) (Value, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	v, err := decode(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one JSON value")
	}
	return v, nil
}

const maxJSONDepth = 100

func decode(d *json.Decoder, depth int) (Value, error) {
	if depth > maxJSONDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxJSONDepth)
	}
	t, err := d.Token()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '[' {
			a := NewArray()
			for d.More() {
				v, err := decode(d, depth+1)
				if err != nil {
					return nil, err
				}
				a.Items = append(a.Items, v)
			}
			_, err := d.Token()
			return a, err
		}
		o := NewObject()
		for d.More() {
			k, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := decode(d, depth+1)
			if err != nil {
				return nil, err
			}
			o.Set(k.(string), v)
		}
		_, err := d.Token()
		return o, err
	case json.Number:
		return parseNumber(t.String()), nil
	case string:
		return t, nil
	case bool:
		return t, nil
	}
	return nil, nil
}

// ToJSON writes v as the toJSON function does: indented by two blanks, keys in
// their order, only what must be escaped escaped.
func ToJSON(v Value) string {
	var b bytes.Buffer
	writeJSON(&b, v, "\n")
	return b.String()
}

func writeJSON(b *bytes.Buffer, v Value, newline string) {
	switch v := v.(type) {
	case nil:
		b.WriteString("null")
	case string:
		writeString(b, v)
	case *Array:
		if len(v.Items) == 0 {
			b.WriteString("[]")
			return
		}
		b.WriteByte('[')
		for i, item := range v.Items {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(newline + "  ")
			writeJSON(b, item, newline+"  ")
		}
		b.WriteString(newline + "]")
	case *Object:
		if v.Len() == 0 {
			b.WriteString("{}")
			return
		}
		b.WriteByte('{')
		for i, k := range v.keys {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(newline + "  ")
			writeString(b, k)
			b.WriteString(": ")
			writeJSON(b, v.values[i], newline+"  ")
		}
		b.WriteString(newline + "}")
	default:
		b.WriteString(String(v))
	}
}

func writeString(b *bytes.Buffer, s string) {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string always encodes
	b.Truncate(b.Len() - 1)
}

// MarshalJSON lets values travel in files; see also [FromJSON].
func (o *Object) MarshalJSON() ([]byte, error) { return []byte(ToJSON(o)), nil }

// MarshalJSON writes the items.
func (a *Array) MarshalJSON() ([]byte, error) { return []byte(ToJSON(a)), nil }
