package build

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/buildkit/client"
)

// knownCache lists the attributes of each type of cache; "!" marks one that
// must be there.
var knownCache = map[string]struct{ from, to []string }{
	"inline": {nil, []string{}},
	"local": {
		[]string{"!src", "tag", "digest"},
		[]string{"!dest", "mode", "tag", "compression", "compression-level", "force-compression", "oci-mediatypes", "image-manifest", "ignore-error", "reset"},
	},
	"registry": {
		[]string{"!ref"},
		[]string{"!ref", "mode", "compression", "compression-level", "force-compression", "oci-mediatypes", "image-manifest", "ignore-error", "registry.insecure"},
	},
}

func (c Cache) checkFrom() error {
	known := knownCache[c.Type].from
	if known == nil {
		return fmt.Errorf("type %q is not one of local, registry (inline cache is read with type=registry)", c.Type)
	}
	return c.checkAttrs(known)
}

func (c Cache) checkTo() error {
	known := knownCache[c.Type].to
	if known == nil {
		return fmt.Errorf("type %q is not one of inline, local, registry", c.Type)
	}
	if m, ok := c.Attrs["mode"]; ok && m != "min" && m != "max" {
		return fmt.Errorf("mode %q is not one of min, max", m)
	}
	return c.checkAttrs(known)
}

func (c Cache) checkAttrs(known []string) error {
	for _, k := range slices.Sorted(maps.Keys(c.Attrs)) {
		if !slices.Contains(known, k) && !slices.Contains(known, "!"+k) {
			return fmt.Errorf("type %s has no attribute %q", c.Type, k)
		}
	}
	for _, k := range known {
		if name, must := strings.CutPrefix(k, "!"); must && c.Attrs[name] == "" {
			return fmt.Errorf("type %s needs %s", c.Type, name)
		}
	}
	return nil
}

// cacheImports and cacheExports copy: the client writes into attributes.
func cacheImports(cs []Cache) []client.CacheOptionsEntry {
	var out []client.CacheOptionsEntry
	for _, c := range cs {
		out = append(out, client.CacheOptionsEntry{Type: c.Type, Attrs: maps.Clone(c.Attrs)})
	}
	return out
}

func cacheExports(cs []Cache) []client.CacheOptionsEntry {
	var out []client.CacheOptionsEntry
	for _, c := range cs {
		e := client.CacheOptionsEntry{Type: c.Type, Attrs: maps.Clone(c.Attrs)}
		if c.Type != "inline" { // its layers are those of the image
			e.Attrs = layerAttrs(c.Attrs)
		}
		out = append(out, e)
	}
	return out
}
