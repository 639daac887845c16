// Package eventtest checks events against the schemas of CDEvents.
package eventtest

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/penstock-dev/penstock/internal/base/event"
)

//go:embed schemas
var files embed.FS

// compile reads all schemas and returns those of events, by type.
var compile = sync.OnceValues(func() (map[string]*jsonschema.Schema, error) {
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	ids := map[string]string{} // by type
	err := fs.WalkDir(files, "schemas", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !bytes.HasSuffix([]byte(path), []byte(".json")) {
			return err
		}
		b, err := files.ReadFile(path)
		if err != nil {
			return err
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		var head struct {
			ID         string `json:"$id"`
			Properties struct {
				Context struct {
					Properties struct {
						Type struct{ Enum []string }
					}
				}
			}
		}
		if err := json.Unmarshal(b, &head); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, typ := range head.Properties.Context.Properties.Type.Enum {
			ids[typ] = head.ID
		}
		return c.AddResource(head.ID, doc)
	})
	if err != nil {
		return nil, err
	}
	out := map[string]*jsonschema.Schema{}
	for typ, id := range ids {
		if out[typ], err = c.Compile(id); err != nil {
			return nil, err
		}
	}
	return out, nil
})

// server is where tests say that events are from.
const server = "http://penstock.localhost:7080"

// Valid fails the test when an entry is not, rendered, what the schema of its
// type asks for.
func Valid(t *testing.T, entries ...event.Entry) {
	t.Helper()
	for _, e := range entries {
		if err := Check(e); err != nil {
			t.Errorf("event %s %s: %v", e.Type, e.ID, err)
		}
	}
}

// Check renders the entry and says what is wrong with it.
func Check(e event.Entry) error {
	schemas, err := compile()
	if err != nil {
		return err
	}
	schema := schemas[e.Type]
	if schema == nil {
		return fmt.Errorf("there is no schema for type %s", e.Type)
	}
	text, err := event.CDEvent(e, server)
	if err != nil {
		return err
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	if err := schema.Validate(v); err != nil {
		return fmt.Errorf("%w\n%s", err, text)
	}
	return nil
}
