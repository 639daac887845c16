package build

import (
	"maps"
	"slices"
	"strings"
)

// Output is one place where the result goes.
type Output struct {
	// Type is one of
	//   node      into the node, under every tag
	//   push      to the registry that each tag names
	//   oci       an OCI layout: a tar file, or a directory with Attrs tar=false
	//   docker    a tar file for docker load
	//   local     the files of the image, in a directory
	//   tar       the files of the image, as a tar file
	//   cacheonly nowhere: only the cache is filled
	Type string
	// Dest is the path of the file or directory, "-" for Request.Stdout.
	Dest string
	// Local keeps an image for the node out of Penstock's own registry, where
	// its name would have it pushed as well.
	Local bool
	// Attrs are passed on to BuildKit: compression=zstd, annotation.KEY=VALUE …
	Attrs map[string]string
}

// Output types.
const (
	OutputNode      = "node"
	OutputPush      = "push"
	OutputOCI       = "oci"
	OutputDocker    = "docker"
	OutputLocal     = "local"
	OutputTar       = "tar"
	OutputCacheOnly = "cacheonly"
)

// imageAttrs are the attributes that every image output understands.
var imageAttrs = []string{"compression", "compression-level", "force-compression", "oci-mediatypes", "rewrite-timestamp"}

// outputTypes says for each type whether it needs a destination and tags, and
// which attributes it has.
var outputTypes = map[string]struct {
	dest, tags bool
	attrs      []string
}{
	OutputNode:      {tags: true, attrs: imageAttrs},
	OutputPush:      {tags: true, attrs: append([]string{"registry.insecure"}, imageAttrs...)},
	OutputOCI:       {dest: true, attrs: append([]string{"tar"}, imageAttrs...)},
	OutputDocker:    {dest: true, attrs: imageAttrs},
	OutputLocal:     {dest: true, attrs: []string{"platform-split", "mode"}},
	OutputTar:       {dest: true, attrs: []string{"platform-split"}},
	OutputCacheOnly: {},
}

// image says whether the output is an image, with a digest.
func (o Output) image() bool {
	return slices.Contains([]string{OutputNode, OutputPush, OutputOCI, OutputDocker}, o.Type)
}

// directory says whether the destination is a directory.
func (o Output) directory() bool {
	return o.Type == OutputLocal || o.Type == OutputOCI && o.Attrs["tar"] == "false"
}

// checkOutputs refuses outputs that cannot be made.
func checkOutputs(r Request, canImport bool, bad func(hint, format string, args ...any) error) error {
	if len(r.Outputs) == 0 {
		return bad("for example a tag, which puts the image into the node: --tag NAME", "nothing says where the result goes")
	}
	layouts, stdout := 0, 0
	for _, o := range r.Outputs {
		t, ok := outputTypes[o.Type]
		switch {
		case !ok:
			return bad("", "output type %q is not one of %s", o.Type, strings.Join(slices.Sorted(maps.Keys(outputTypes)), ", "))
		case t.dest && o.Dest == "":
			return bad("-o type="+o.Type+",dest=PATH", "output %s has no destination", o.Type)
		case !t.dest && o.Dest != "":
			return bad("", "output %s takes no destination", o.Type)
		case t.tags && len(r.Tags) == 0:
			return bad("name the image: --tag NAME", "output %s needs a tag", o.Type)
		case o.Type == OutputNode && !canImport:
			return bad("use another output, for example -o type=oci,dest=FILE", "there is no node to put the image into")
		case o.Type == OutputDocker && len(r.Platforms) > 1:
			return bad("-o type=oci,dest=FILE holds several", "output docker holds one platform, not %d", len(r.Platforms))
		}
		for _, k := range slices.Sorted(maps.Keys(o.Attrs)) {
			if !slices.Contains(t.attrs, k) && !(o.image() && strings.HasPrefix(k, "annotation")) {
				return bad("", "output %s has no attribute %q", o.Type, k)
			}
		}
		if v, ok := o.Attrs["tar"]; ok && v != "true" && v != "false" {
			return bad("", "tar=%s is neither true nor false", v)
		}
		if o.Dest == "-" {
			if stdout++; o.directory() || stdout > 1 || r.Stdout == nil {
				return bad("", "output %s cannot go to standard output", o.Type)
			}
		}
		if o.Type == OutputOCI && o.directory() {
			if layouts++; layouts > 1 {
				return bad("build twice, the second time comes from the cache", "only one output can be an OCI layout in a directory")
			}
		}
	}
	return nil
}

// layerAttrs completes the attributes of an output or a cache that has layers.
// Fast compression is the default: an image goes into the node or a registry
// near by in half the time, for some percent more. It is the same for all, so
// that a layer has one digest wherever it goes.
func layerAttrs(given map[string]string) map[string]string {
	a := maps.Clone(given)
	if a == nil {
		a = map[string]string{}
	}
	if a["compression"] == "" && a["compression-level"] == "" {
		a["compression"], a["compression-level"] = "gzip", "1"
	}
	return a
}
