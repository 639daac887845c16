//go:build linux

package sandbox

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/penstock-dev/penstock/internal/host/exec"
)

const defaultProcesses = 4096

func defaultLimits() exec.Limits {
	l := exec.Limits{Processes: defaultProcesses}
	var si unix.Sysinfo_t
	if err := unix.Sysinfo(&si); err == nil {
		l.MemoryBytes = int64(si.Totalram) * int64(si.Unit) / 4 * 3
	}
	return l
}

// limits takes what is asked for, else the default.
func limits(asked, def exec.Limits) exec.Limits {
	if asked.MemoryBytes <= 0 {
		asked.MemoryBytes = def.MemoryBytes
	}
	if asked.CPUs <= 0 {
		asked.CPUs = def.CPUs
	}
	if asked.Processes <= 0 {
		asked.Processes = def.Processes
	}
	return asked
}

// systemUsers are the users of package managers, whose number is not fixed.
func systemUsers(passwd string) []int {
	data, err := os.ReadFile(passwd)
	if err != nil {
		return nil
	}
	var ids []int
	for line := range strings.Lines(string(data)) {
		f := strings.Split(line, ":")
		if len(f) < 3 || f[0] != "_apt" {
			continue
		}
		if id, err := strconv.Atoi(f[2]); err == nil {
			ids = append(ids, id)
		}
	}
	return ids
}
