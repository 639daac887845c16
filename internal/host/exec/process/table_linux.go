package process

import (
	"os"
	"strconv"
	"strings"
)

// processes reads the process table from /proc.
func processes() ([]proc, error) {
	d, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var out []proc
	for _, n := range names {
		if _, err := strconv.Atoi(n); err != nil {
			continue
		}
		data, err := os.ReadFile("/proc/" + n + "/stat")
		if err != nil {
			continue // it went meanwhile
		}
		if p, ok := parseStat(string(data)); ok {
			out = append(out, p)
		}
	}
	return out, nil
}

// parseStat reads /proc/<pid>/stat: pid (name) state parent group session, and
// as field 22 the time of the start.
// The name may hold anything, so the fields are counted from its last ")".
func parseStat(s string) (proc, bool) {
	open, end := strings.Index(s, " ("), strings.LastIndex(s, ")")
	if open < 0 || end < open {
		return proc{}, false
	}
	f := strings.Fields(s[end+1:])
	const start = 22 - 3 // counted from the state, which is field 3
	if len(f) <= start {
		return proc{}, false
	}
	n := make([]int, 4)
	for i, t := range []string{s[:open], f[1], f[2], f[3]} {
		v, err := strconv.Atoi(t)
		if err != nil {
			return proc{}, false
		}
		n[i] = v
	}
	if f[0] == "Z" {
		return proc{}, false // dead already
	}
	return proc{pid: n[0], parent: n[1], group: n[2], session: n[3], start: f[start]}, true
}
