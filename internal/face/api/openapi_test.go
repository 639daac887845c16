package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write api/openapi.json anew")

// all registers every noun: each exported method of API that takes only
// interfaces and gives nothing back. The routes are described, never called.
func all(t *testing.T) *API {
	t.Helper()
	a := New()
	v := reflect.ValueOf(a)
	nouns := 0
	for i := range v.NumMethod() {
		m := v.Method(i)
		var args []reflect.Value
		for j := range m.Type().NumIn() {
			if in := m.Type().In(j); in.Kind() == reflect.Interface {
				args = append(args, reflect.Zero(in))
			}
		}
		if m.Type().NumOut() == 0 && len(args) == m.Type().NumIn() && len(args) > 0 {
			m.Call(args)
			nouns++
		}
	}
	if nouns == 0 {
		t.Fatal("no noun registers routes")
	}
	return a
}

// TestOpenAPIFileIsCurrent compares api/openapi.json, which clients are made
// from, with the routes.
func TestOpenAPIFileIsCurrent(t *testing.T) {
	raw, err := json.Marshal(all(t).huma.OpenAPI())
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		t.Fatal(err)
	}
	b.WriteByte('\n')
	path := filepath.Join("..", "..", "..", "api", "openapi.json")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(have), b.String()); diff != "" {
		t.Errorf("api/openapi.json is not what the routes say (-file +routes); run: go test ./internal/face/api -update\n%s", diff)
	}
}
