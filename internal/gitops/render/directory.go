package render

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
	"github.com/penstock-dev/penstock/internal/base/glob"
)

// skipMarker in a file keeps it from being rendered.
const skipMarker = "# +argocd:skip-file-rendering"

// directory reads plain manifests.
func directory(t *tree, dir string, opts *v1alpha1.DirectorySource) ([]*unstructured.Unstructured, error) {
	if opts == nil {
		opts = &v1alpha1.DirectorySource{}
	}
	files, err := manifestFiles(t, dir, opts)
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	for _, f := range files {
		b, err := t.ReadFile(f)
		if err != nil {
			return nil, err
		}
		found, err := Decode(b)
		if err != nil {
			return nil, errorf("%s: %v", strings.TrimPrefix(f, "/"), err)
		}
		objects = append(objects, found...)
	}
	return objects, nil
}

func manifestFiles(t *tree, dir string, opts *v1alpha1.DirectorySource) ([]string, error) {
	include, err := pattern(opts.Include, true)
	if err != nil {
		return nil, err
	}
	exclude, err := pattern(opts.Exclude, false)
	if err != nil {
		return nil, err
	}
	var files []string
	err = t.Walk(dir, func(p string, fi fs.FileInfo, err error) error {
		switch {
		case err != nil:
			return explain(p, err)
		case fi.IsDir() && p != dir && (!opts.Recurse || fi.Name() == ".git"):
			return fs.SkipDir
		case fi.IsDir():
			return nil
		}
		rel := strings.TrimPrefix(strings.TrimPrefix(p, dir), "/")
		ext := path.Ext(p)
		if ext != ".yaml" && ext != ".yml" && ext != ".json" && ext != ".jsonnet" || !include(rel) || exclude(rel) {
			return nil
		}
		if ext == ".jsonnet" {
			return errorf("%s: Jsonnet is not served by this version; directory.exclude leaves the file out", strings.TrimPrefix(p, "/"))
		}
		if t.IsDir(p) { // a link to a directory
			return nil
		}
		if len(files) == maxFiles {
			return errorf("%s has more than %d manifests", dir, maxFiles)
		}
		files = append(files, p)
		return nil
	})
	return files, err
}

// pattern returns a matcher; an empty pattern answers what none means.
func pattern(p string, none bool) (func(string) bool, error) {
	if p == "" {
		return func(string) bool { return none }, nil
	}
	g, err := glob.Compile(p, 0)
	if err != nil {
		return nil, errorf("directory: %v", err)
	}
	return g.Match, nil
}

// kubernetesKeys are the keys at the top of every object, in YAML or JSON.
var kubernetesKeys = []*regexp.Regexp{
	regexp.MustCompile(`(?m)(^|")apiVersion"?\s*:`),
	regexp.MustCompile(`(?m)(^|")kind"?\s*:`),
	regexp.MustCompile(`(?m)(^|")metadata"?\s*:`),
}

// looksLikeKubernetes says whether a file that does not parse was meant to be
// an object: other YAML may lie beside manifests.
func looksLikeKubernetes(b []byte) bool {
	for _, re := range kubernetesKeys {
		if !re.Match(b) {
			return false
		}
	}
	return true
}

// Decode reads the objects of one file, YAML documents or JSON. Lists are
// taken apart. A file that is broken and clearly not Kubernetes has none.
func Decode(b []byte) ([]*unstructured.Unstructured, error) {
	if bytes.Contains(b, []byte(skipMarker)) {
		return nil, nil
	}
	var objects []*unstructured.Unstructured
	r := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(b)))
	for {
		doc, err := r.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		found, err := decodeDocument(doc)
		if err != nil {
			if !looksLikeKubernetes(b) {
				return nil, nil
			}
			return nil, err
		}
		objects = append(objects, found...)
	}
}

func decodeDocument(doc []byte) ([]*unstructured.Unstructured, error) {
	j, err := yaml.YAMLToJSON(doc)
	if err != nil {
		return nil, err
	}
	if j = bytes.TrimSpace(j); bytes.Equal(j, []byte("null")) || bytes.Equal(j, []byte("{}")) {
		return nil, nil
	}
	return decodeJSON(j)
}

func decodeJSON(j []byte) ([]*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(j); err != nil {
		return nil, err
	}
	if u.GetAPIVersion() == "" {
		return nil, errors.New("an object has no apiVersion")
	}
	if !u.IsList() {
		return []*unstructured.Unstructured{u}, nil
	}
	list, err := u.ToList()
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	for i := range list.Items {
		objects = append(objects, &list.Items[i])
	}
	return objects, nil
}
