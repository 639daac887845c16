package build

import (
	"encoding/csv"
	"errors"
	"fmt"
	"strings"
)

// Field is one KEY=VALUE.
type Field struct{ Key, Value string }

// ParseFields reads the comma-separated KEY=VALUE fields of docker's flags; a
// field with a comma in it is put in double quotes. Errors do not repeat the
// text, which may hold what is not for logs.
func ParseFields(text string) ([]Field, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, errors.New("it has more than one line")
	}
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return nil, fmt.Errorf("read fields: %w", err)
	}
	var out []Field
	for _, f := range fields {
		k, v, ok := strings.Cut(f, "=")
		k = strings.TrimSpace(k)
		if !ok || k == "" {
			return nil, errors.New("a field is not KEY=VALUE")
		}
		for _, e := range out {
			if e.Key == k {
				return nil, fmt.Errorf("%s is given twice", k)
			}
		}
		out = append(out, Field{k, v})
	}
	return out, nil
}

// ParseCaches reads caches as docker's flags have them: type=TYPE,KEY=VALUE…,
// or the name of an image alone.
func ParseCaches(texts []string) ([]Cache, error) {
	var out []Cache
	for _, t := range texts {
		if !strings.Contains(t, "=") {
			out = append(out, Cache{Type: "registry", Attrs: map[string]string{"ref": t}})
			continue
		}
		fields, err := ParseFields(t)
		if err != nil {
			return nil, err
		}
		c := Cache{Attrs: map[string]string{}}
		for _, f := range fields {
			if f.Key == "type" {
				c.Type = f.Value
			} else {
				c.Attrs[f.Key] = f.Value
			}
		}
		if c.Type == "" {
			return nil, errors.New("it has no type")
		}
		out = append(out, c)
	}
	return out, nil
}
