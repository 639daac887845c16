//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// A slot is what only one sandbox of the machine may have at a time: a range
// of host ids, an address, the name of an interface. Slots are numbered; the
// lock on a slot's file is held as long as its session lives, and the kernel
// lets go of it when we die.
type slot struct {
	n    int
	lock *os.File
}

// slotDir is where the machine's slots are.
const slotDir = machineDir + "/slots"

const (
	firstSlot = 2 // .0 is the network, .1 the host's side of every link
	lastSlot  = 250
	// firstID is where the host ids begin: above what systemd gives to
	// containers (up to 0x6FFFFFFF) and what /etc/subuid usually holds, below
	// 2^31, above which some programs take an id for a negative number.
	firstID = 0x70000000
)

func (s slot) idBase() int           { return firstID + s.n*idCount }
func (s slot) interfaceName() string { return interfacePrefix + strconv.Itoa(s.n) }

func (s slot) address(subnet netip.Prefix) netip.Addr { return nth(subnet, s.n) }

// gateway is the host's address on every sandbox's link.
func gateway(subnet netip.Prefix) netip.Addr { return nth(subnet, 1) }

func nth(subnet netip.Prefix, n int) netip.Addr {
	a := subnet.Masked().Addr()
	for range n {
		a = a.Next()
	}
	return a
}

// takeSlot locks the lowest free slot of the directory. The caller holds the
// machine's lock.
func takeSlot(dir string) (slot, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return slot{}, err
	}
	for n := firstSlot; n <= lastSlot; n++ {
		f, err := lockFile(filepath.Join(dir, strconv.Itoa(n)))
		if errors.Is(err, errLocked) {
			continue
		}
		if err != nil {
			return slot{}, err
		}
		return slot{n: n, lock: f}, nil
	}
	return slot{}, &problem.Error{
		Op: "open sandbox", Err: fmt.Errorf("all %d sandboxes of this machine are in use", lastSlot-firstSlot+1),
		Hint: "run fewer jobs at once",
	}
}

func (s slot) release() { s.lock.Close() }
