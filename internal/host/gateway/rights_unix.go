//go:build unix

package gateway

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// rightsSpace is what two files take in the control data of a message.
var rightsSpace = unix.CmsgSpace(2 * 4)

// writeRights makes control data that carries open files.
func writeRights(fds ...int) []byte { return unix.UnixRights(fds...) }

// readRights makes the files ours that control data carries, one for each name.
func readRights(data []byte, names ...string) ([]*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(data)
	var fds []int
	if err == nil && len(messages) == 1 {
		fds, err = unix.ParseUnixRights(&messages[0])
	}
	if err == nil && len(fds) != len(names) {
		err = fmt.Errorf("%d files were sent, not %d", len(fds), len(names))
	}
	if err != nil {
		for _, fd := range fds {
			err = errors.Join(err, unix.Close(fd))
		}
		return nil, err
	}
	files := make([]*os.File, len(fds))
	for i, fd := range fds {
		unix.CloseOnExec(fd)
		files[i] = os.NewFile(uintptr(fd), names[i])
	}
	return files, nil
}

// Why an address cannot be listened on.
const (
	errInUse    = unix.EADDRINUSE
	errNotOurs  = unix.EADDRNOTAVAIL
	errNoAccess = unix.EACCES
)
