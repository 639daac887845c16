//go:build unix && !linux

package process

import (
	"os/exec"
	"strconv"
	"strings"
)

// processes reads the process table with ps, which every Unix has.
func processes() ([]proc, error) {
	out, err := exec.Command("ps", "-A", "-o", "pid=,ppid=,pgid=,lstart=").Output()
	if err != nil {
		return nil, err
	}
	var table []proc
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		var n [3]int
		for i := range n {
			if n[i], err = strconv.Atoi(f[i]); err != nil {
				return nil, err
			}
		}
		table = append(table, proc{pid: n[0], parent: n[1], group: n[2], start: strings.Join(f[3:], " ")})
	}
	return table, nil
}
