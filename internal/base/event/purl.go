package event

import (
	"net/url"
	"strings"
)

// PackageURL names an image, "host/owner/name:tag" or "host/owner/name@digest"
// or both, as package URLs do: pkg:oci/name@digest?repository_url=….
func PackageURL(image string) string {
	name, digest, _ := strings.Cut(image, "@")
	tag := ""
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name, tag = name[:i], name[i+1:]
	}
	last := name[strings.LastIndexByte(name, '/')+1:]
	var b strings.Builder
	b.WriteString("pkg:oci/" + url.PathEscape(strings.ToLower(last)))
	if digest != "" {
		b.WriteString("@" + url.QueryEscape(digest))
	}
	q := url.Values{"repository_url": {name}}
	if tag != "" {
		q.Set("tag", tag)
	}
	return b.String() + "?" + q.Encode()
}

// manifestsURL names the manifests of an application at a commit.
func manifestsURL(application, revision, source string) string {
	s := "pkg:generic/" + url.PathEscape(application[strings.LastIndexByte(application, '/')+1:])
	if revision != "" {
		s += "@" + url.QueryEscape(revision)
	}
	if source != "" {
		s += "?" + url.Values{"vcs_url": {"git+" + source}}.Encode()
	}
	return s
}
