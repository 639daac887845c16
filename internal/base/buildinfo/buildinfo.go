// Package buildinfo says which build of Penstock is running. The linker sets
// the values; without it they come from what Go records in the binary.
package buildinfo

import (
	"runtime"
	"runtime/debug"
)

// Set with -ldflags "-X .../buildinfo.version=v1.2.3 ...".
var (
	version string
	commit  string
	date    string
)

// Info is what `penstock version` prints.
type Info struct {
	Version string `json:"version"` // semantic version, or "devel"
	Commit  string `json:"commit"`  // full commit, "-dirty" when the tree had changes; or "unknown"
	Date    string `json:"date"`    // commit time, RFC 3339; or "unknown"
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

// Get returns the running build's identity.
func Get() Info {
	i := Info{version, commit, date, runtime.Version(), runtime.GOOS, runtime.GOARCH}
	if bi, ok := debug.ReadBuildInfo(); ok {
		dirty := ""
		for _, s := range bi.Settings {
			switch s.Key {
			case "vcs.revision":
				i.Commit = or(i.Commit, s.Value)
			case "vcs.time":
				i.Date = or(i.Date, s.Value)
			case "vcs.modified":
				if s.Value == "true" {
					dirty = "-dirty"
				}
			}
		}
		if commit == "" && i.Commit != "" {
			i.Commit += dirty
		}
		if v := bi.Main.Version; v != "(devel)" {
			i.Version = or(i.Version, v)
		}
	}
	i.Version = or(i.Version, "devel")
	i.Commit = or(i.Commit, "unknown")
	i.Date = or(i.Date, "unknown")
	return i
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
