package process

import (
	"fmt"
	"io"
	"os"
	"syscall"
)

// launchName is the hidden argument under which our own program acts as
// launcher.
const launchName = "__launch"

// maxLog is the size at which a log is started anew; one older log is kept.
const maxLog = 16 << 20

// Launch must be called first thing in main with the program's arguments. When
// they ask for it, it waits until the parent has written the record (one byte
// on standard input), becomes the wanted program and does not return. The
// parent's death before that ends it without having run anything.
func Launch(args []string) {
	if len(args) < 4 || args[1] != launchName || args[2] != "--" {
		return
	}
	var b [1]byte
	if _, err := io.ReadFull(os.Stdin, b[:]); err != nil {
		os.Exit(1)
	}
	null, err := os.Open(os.DevNull)
	if err == nil {
		err = syscall.Dup3(int(null.Fd()), 0, 0)
	}
	if err == nil {
		err = syscall.Exec(args[3], args[3:], os.Environ())
	}
	fmt.Fprintf(os.Stderr, "launch %s: %v\n", args[3], err)
	os.Exit(1)
}

// openLog opens a log for appending and moves one that has grown large aside.
func openLog(path string) (*os.File, error) {
	if fi, err := os.Stat(path); err == nil && fi.Size() > maxLog {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}
