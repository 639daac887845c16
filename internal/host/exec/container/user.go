//go:build linux

package container

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/image"
)

// maxID is the largest user or group that a container has.
const maxID = 1<<16 - 1

// user is who commands run as.
type user struct {
	name     string
	uid, gid int
	groups   []int
	home     string
}

// account and group are lines of an image's own files.
type account struct {
	name     string
	uid, gid int
	home     string
}

type group struct {
	name    string
	gid     int
	members []string
}

// lookup finds the user of an image's configuration: a name or number, and a
// group after a colon.
func lookup(img *image.Image, who string) (user, error) {
	accounts, err := readAccounts(img)
	if err != nil {
		return user{}, err
	}
	groups, err := readGroups(img)
	if err != nil {
		return user{}, err
	}
	return resolve(who, accounts, groups)
}

func resolve(who string, accounts []account, groups []group) (user, error) {
	who, groupName, hasGroup := strings.Cut(who, ":")
	if who == "" {
		who = "0"
	}
	u := user{home: "/"}
	number, err := strconv.Atoi(who)
	isNumber := err == nil
	found := false
	for _, a := range accounts {
		if isNumber && a.uid == number || a.name == who {
			u, found = user{name: a.name, uid: a.uid, gid: a.gid, home: a.home}, true
			break
		}
	}
	switch {
	case !found && !isNumber:
		return user{}, fmt.Errorf("user %q %w in the image's /etc/passwd", who, problem.ErrNotFound)
	case !found:
		u.uid = number
		if number == 0 {
			u.name, u.home = "root", "/root"
		}
	}
	if u.home == "" {
		u.home = "/"
	}
	if hasGroup && groupName != "" {
		if u.gid, err = groupID(groupName, groups); err != nil {
			return user{}, err
		}
	} else {
		for _, g := range groups {
			for _, m := range g.members {
				if u.name != "" && m == u.name && g.gid != u.gid {
					u.groups = append(u.groups, g.gid)
				}
			}
		}
	}
	for _, id := range append([]int{u.uid, u.gid}, u.groups...) {
		if id < 0 || id > maxID {
			return user{}, fmt.Errorf("%w: user or group %d is not within 0 and %d", problem.ErrInvalid, id, maxID)
		}
	}
	return u, nil
}

func groupID(name string, groups []group) (int, error) {
	for _, g := range groups {
		if g.name == name {
			return g.gid, nil
		}
	}
	gid, err := strconv.Atoi(name)
	if err != nil {
		return 0, fmt.Errorf("group %q %w in the image's /etc/group", name, problem.ErrNotFound)
	}
	return gid, nil
}

func readAccounts(img *image.Image) ([]account, error) {
	lines, err := readLines(img, "/etc/passwd", 6)
	if err != nil {
		return nil, err
	}
	var out []account
	for _, f := range lines {
		uid, err1 := strconv.Atoi(f[2])
		gid, err2 := strconv.Atoi(f[3])
		if err1 == nil && err2 == nil {
			out = append(out, account{f[0], uid, gid, f[5]})
		}
	}
	return out, nil
}

func readGroups(img *image.Image) ([]group, error) {
	lines, err := readLines(img, "/etc/group", 4)
	if err != nil {
		return nil, err
	}
	var out []group
	for _, f := range lines {
		if gid, err := strconv.Atoi(f[2]); err == nil {
			out = append(out, group{f[0], gid, strings.Split(f[3], ",")})
		}
	}
	return out, nil
}

// readLines reads a file of the image that has fields between colons. An image
// may have none.
func readLines(img *image.Image, name string, fields int) ([][]string, error) {
	const most = 1 << 20
	data, err := img.ReadFile(name, most)
	if errors.Is(err, problem.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the image's %s: %w", name, err)
	}
	var out [][]string
	for line := range strings.Lines(string(data)) {
		if f := strings.Split(strings.TrimSpace(line), ":"); len(f) >= fields {
			out = append(out, f)
		}
	}
	return out, nil
}
