package render

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/yaml"

	"github.com/penstock-dev/penstock/api/argo/v1alpha1"
)

// kustomization builds the kustomization in dir.
func kustomization(t *tree, dir string, opts *v1alpha1.KustomizeSource) ([]*unstructured.Unstructured, error) {
	if kustomizationFile(t, dir) == "" {
		return nil, errorf("%s has no kustomization file", strings.TrimPrefix(dir, "/"))
	}
	if err := refuseRemote(t, dir, map[string]bool{}); err != nil {
		return nil, err
	}
	if err := edit(t, dir, opts); err != nil {
		return nil, err
	}
	res, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(t, dir)
	if err != nil {
		return nil, errorf("kustomize build: %v", err)
	}
	objects := make([]*unstructured.Unstructured, 0, res.Size())
	for _, r := range res.Resources() {
		j, err := r.MarshalJSON()
		if err != nil {
			return nil, errorf("kustomize build: %s: %v", r.CurId(), err)
		}
		found, err := decodeJSON(j)
		if err != nil {
			return nil, errorf("kustomize build: %s: %v", r.CurId(), err)
		}
		objects = append(objects, found...)
	}
	return objects, nil
}

// kustomizationFile returns the path of dir's kustomization file, or "".
func kustomizationFile(t *tree, dir string) string {
	for _, n := range konfig.RecognizedKustomizationFileNames() {
		if p := path.Join(dir, n); t.Exists(p) && !t.IsDir(p) {
			return p
		}
	}
	return ""
}

// references are the fields of a kustomization that name files or directories.
type references struct {
	Resources             []string   `json:"resources"`
	Bases                 []string   `json:"bases"`
	Components            []string   `json:"components"`
	CRDs                  []string   `json:"crds"`
	Configurations        []string   `json:"configurations"`
	Generators            []string   `json:"generators"`
	Transformers          []string   `json:"transformers"`
	Validators            []string   `json:"validators"`
	PatchesStrategicMerge []string   `json:"patchesStrategicMerge"`
	Patches               []pathOnly `json:"patches"`
	PatchesJSON6902       []pathOnly `json:"patchesJson6902"`
	Replacements          []pathOnly `json:"replacements"`
	OpenAPI               pathOnly   `json:"openapi"`
}

type pathOnly struct {
	Path string `json:"path"`
}

func (r references) all() []string {
	var out []string
	for _, l := range [][]string{r.Resources, r.Bases, r.Components, r.CRDs, r.Configurations, r.Generators, r.Transformers, r.Validators, r.PatchesStrategicMerge} {
		out = append(out, l...)
	}
	for _, l := range [][]pathOnly{r.Patches, r.PatchesJSON6902, r.Replacements, {r.OpenAPI}} {
		for _, p := range l {
			out = append(out, p.Path)
		}
	}
	return out
}

// refuseRemote names a reference out of the repository before kustomize tries
// to fetch it: a worker has no network, and says so badly.
func refuseRemote(t *tree, dir string, seen map[string]bool) error {
	file := kustomizationFile(t, dir)
	if file == "" || seen[dir] {
		return nil
	}
	seen[dir] = true
	b, err := t.ReadFile(file)
	if err != nil {
		return err
	}
	var refs references
	if err := yaml.Unmarshal(b, &refs); err != nil {
		return nil //nolint:nilerr // kustomize itself says what is wrong with it
	}
	for _, ref := range refs.all() {
		if ref == "" || strings.Contains(ref, "\n") {
			continue
		}
		at := path.Join(dir, ref)
		switch {
		case t.IsDir(at):
			if err := refuseRemote(t, at, seen); err != nil {
				return err
			}
		case !t.Exists(at) && remote.MatchString(ref):
			return errorf("%s: %q is outside the repository: remote bases are not served, vendor the files instead", strings.TrimPrefix(file, "/"), ref)
		}
	}
	return nil
}

var remote = regexp.MustCompile(`://|^git@|^git::|^gh:|[?&](ref|version|submodules|timeout)=|\.git(/|$)|^[\w-]+(\.[\w-]+)*\.[a-z]{2,}[:/]`)

// edit changes the kustomization of dir in memory, as "kustomize edit set"
// and "kustomize edit add" would change the file.
func edit(t *tree, dir string, opts *v1alpha1.KustomizeSource) error {
	if opts == nil {
		return nil
	}
	file := kustomizationFile(t, dir)
	b, err := t.ReadFile(file)
	if err != nil {
		return err
	}
	k := map[string]any{}
	if err := yaml.Unmarshal(b, &k); err != nil {
		return errorf("%s: %v", strings.TrimPrefix(file, "/"), err)
	}
	for field, v := range map[string]string{"namePrefix": opts.NamePrefix, "nameSuffix": opts.NameSuffix, "namespace": opts.Namespace} {
		if v != "" {
			k[field] = v
		}
	}
	for _, s := range opts.Images {
		img, err := parseImage(s)
		if err != nil {
			return err
		}
		setNamed(k, "images", img)
	}
	for _, r := range opts.Replicas {
		n := r.Count.IntValue()
		if n < 0 || fmt.Sprint(n) != r.Count.String() {
			return errorf("source.kustomize.replicas: %q of %s is not a number", r.Count.String(), r.Name)
		}
		setNamed(k, "replicas", map[string]any{"name": r.Name, "count": n})
	}
	for field, add := range map[string]map[string]string{"commonLabels": opts.CommonLabels, "commonAnnotations": opts.CommonAnnotations} {
		if err := addPairs(k, field, add); err != nil {
			return err
		}
	}
	if b, err = yaml.Marshal(k); err != nil {
		return err
	}
	t.edits[file] = b
	return nil
}

// setNamed replaces the entry with the same name in the list at field, or
// appends it. "*" keeps what the old entry has.
func setNamed(k map[string]any, field string, entry map[string]any) {
	list, _ := k[field].([]any)
	for i, old := range list {
		m, ok := old.(map[string]any)
		if !ok || m["name"] != entry["name"] {
			continue
		}
		for f, v := range entry {
			if v == "*" {
				entry[f] = m[f]
			}
		}
		list[i] = entry
		return
	}
	k[field] = append(list, entry)
}

func addPairs(k map[string]any, field string, add map[string]string) error {
	if len(add) == 0 {
		return nil
	}
	have, _ := k[field].(map[string]any)
	if have == nil {
		have = map[string]any{}
	}
	for name, v := range add {
		if old, ok := have[name]; ok && old != v {
			return errorf("source.kustomize.%s: %s is already set in the kustomization", field, name)
		}
		have[name] = v
	}
	k[field] = have
	return nil
}

// parseImage reads "name[=newName][:tag][@digest]".
func parseImage(s string) (map[string]any, error) {
	name, rest, renamed := strings.Cut(s, "=")
	if !renamed {
		rest = s
	}
	rest, digest, _ := strings.Cut(rest, "@")
	newName, tag := rest, ""
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, '/') {
		newName, tag = rest[:i], rest[i+1:]
	}
	if !renamed {
		name = newName
	}
	if name == "" || newName == "" || (digest != "" && !strings.Contains(digest, ":")) {
		return nil, errorf("source.kustomize.images: %q is not name[=newName][:tag][@digest]", s)
	}
	img := map[string]any{"name": name}
	if renamed {
		img["newName"] = newName
	}
	if tag != "" {
		img["newTag"] = tag
	}
	if digest != "" {
		img["digest"] = digest
	}
	if len(img) == 1 {
		return nil, errorf("source.kustomize.images: %q changes nothing", s)
	}
	return img, nil
}
