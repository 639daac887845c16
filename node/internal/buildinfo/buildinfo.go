// Package buildinfo says which build of penstock-node this is. The linker sets
// the variables.
package buildinfo

import kube "k8s.io/component-base/version"

var (
	version = ""
	commit  = ""
	date    = ""
)

// Info is about this build.
type Info struct {
	Version    string `json:"version"`
	Commit     string `json:"commit"`
	Date       string `json:"date"`
	Kubernetes string `json:"kubernetes"`
}

// Get returns what is known.
func Get() Info {
	or := func(s, def string) string {
		if s == "" {
			return def
		}
		return s
	}
	return Info{or(version, "devel"), or(commit, "unknown"), or(date, "unknown"), kube.Get().GitVersion}
}
