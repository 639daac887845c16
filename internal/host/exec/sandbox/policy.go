//go:build linux

package sandbox

import (
	"io/fs"
	"path"
	"strings"
)

// A sandbox's root is the host's root file system with things left out. What
// is left out is decided here, in three rules:
//
//  1. At the top, and in /var, /var/lib and /var/cache, only what is listed is
//     shown; every other directory is there and empty.
//  2. In the listed places nothing is shown that an ordinary user of the host
//     could not read: a private file is missing, a private directory is empty.
//     /usr without /usr/local is the distribution's and is not searched.
//  3. Directories known to hold secrets, sockets or the state of a service are
//     empty wherever they are, and so is whatever the caller names.
//
// The fate of one path:
type fate int

const (
	show    fate = iota // as it is
	search              // as it is, decide about each entry
	empty               // an empty directory with the same owner and mode
	missing             // not there
	replace             // another content, see replacements
)

// shownTop are the directories of the root that are shown.
var shownTop = map[string]fate{
	"bin": show, "sbin": show, "lib": show, "lib32": show, "lib64": show, "libx32": show,
	"usr": search, "etc": search, "opt": search, "var": search,
	"nix": show, "gnu": show, // package stores, readable by everybody by design
}

// shownVar are the entries of /var that are shown.
var shownVar = map[string]fate{"lib": search, "cache": search}

// shownVarCache are the caches that package managers need or that are costly
// to make again.
var shownVarCache = map[string]bool{"apt": true, "debconf": true, "ldconfig": true, "fontconfig": true, "man": true, "dnf": true, "dictionaries-common": true}

// shownVarLib is the state of package managers and of the packages that only
// keep indexes of files. Services, whose state is data, are not here.
var shownVarLib = map[string]bool{
	"apt": true, "dpkg": true, "ucf": true, "pam": true, "systemd": true, "python": true, "python3": true,
	"aspell": true, "ispell": true, "dictionaries-common": true, "doc-base": true, "emacsen-common": true,
	"xml-core": true, "sgml-base": true, "locales": true, "ca-certificates-java": true, "gems": true,
	"ghc": true, "tex-common": true, "texmf": true, "xfonts": true, "vim": true, "misc": true, "sudo": true,
	"shells.state": true, "insserv": true, "initscripts": true, "polkit-1": true, "mime-support": true,
	"rpm": true, "dnf": true, "yum": true, "pacman": true, "alternatives": true, "apk": true, "zypp": true,
	"command-not-found": true, "swcatalog": true, "app-info": true,
}

// hidden are directories and files that hold secrets or sockets although an
// ordinary user may be able to see into them.
var hidden = map[string]bool{
	"/etc/kubernetes": true, "/etc/rancher": true, "/etc/cni": true, "/etc/containerd": true, "/etc/docker": true,
	"/etc/crio": true, "/etc/etcd": true, "/etc/penstock": true, "/etc/vault.d": true, "/etc/consul.d": true,
	"/etc/nomad.d": true, "/etc/letsencrypt": true, "/etc/wireguard": true, "/etc/openvpn": true,
	"/etc/ipsec.d": true, "/etc/NetworkManager/system-connections": true, "/etc/netplan": true,
	"/etc/ssl/private": true, "/etc/pki/tls/private": true, "/etc/sudoers.d": true,
	"/etc/krb5.keytab": true, "/opt/cni": true, "/opt/containerd": true,
}

// replaced are files that programs need although their content is private.
var replaced = map[string]bool{"/etc/shadow": true, "/etc/gshadow": true, "/etc/sudoers": true}

// decide says what becomes of the host's path. info describes it without
// following links; mask are the caller's own hidden paths.
func decide(p string, mode fs.FileMode, mask map[string]bool) fate {
	parts := strings.Split(strings.TrimPrefix(p, "/"), "/")
	base := parts[len(parts)-1]
	gone := missing
	if mode.IsDir() {
		gone = empty
	}
	switch {
	case mask[p], hidden[p]:
		return gone
	case replaced[p]:
		return replace
	case len(parts) == 1:
		if mode&fs.ModeSymlink != 0 {
			return show // /bin -> usr/bin
		}
		if f, ok := shownTop[base]; ok && mode.IsDir() {
			return f
		}
		return gone
	case parts[0] == "usr" && len(parts) == 2:
		if base == "local" {
			return search
		}
		return show
	case parts[0] == "var" && len(parts) == 2:
		if mode&fs.ModeSymlink != 0 {
			return show // /var/run -> /run
		}
		if f, ok := shownVar[base]; ok {
			return f
		}
		return gone
	case parts[0] == "var" && len(parts) == 3:
		list := shownVarLib
		if parts[1] == "cache" {
			list = shownVarCache
		}
		if !list[base] {
			return gone
		}
		return search
	}
	return ordinary(mode, gone)
}

// ordinary is rule 2.
func ordinary(mode fs.FileMode, gone fate) fate {
	switch {
	case mode&fs.ModeSymlink != 0:
		return show
	case mode.IsDir():
		if mode&0o005 != 0o005 {
			return gone
		}
		return search
	case mode.IsRegular():
		if mode&0o004 == 0 {
			return gone
		}
		return show
	}
	return gone // sockets, pipes, devices
}

// depth bounds the search below a directory: programs' own trees (a language's
// standard library, a package cache) are large and public, private files lie
// near the top.
func depth(p string) int {
	switch {
	case strings.HasPrefix(p, "/opt/"), strings.HasPrefix(p, "/usr/local/"):
		return 4
	}
	return 12
}

// tooDeep says that p is shown as it is because the search ends above it.
func tooDeep(p string) bool {
	return strings.Count(path.Clean(p), "/") > depth(p)
}
