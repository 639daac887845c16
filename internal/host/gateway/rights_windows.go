package gateway

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// Open files cannot be sent to another process here, so a gateway cannot take
// over from another one: that has to end first.
const rightsSpace = 0

var errNoRights = errors.New("windows does not hand over sockets: end the running gateway first")

func writeRights(...int) []byte { return nil }

func readRights([]byte, ...string) ([]*os.File, error) { return nil, errNoRights }

// Why an address cannot be listened on.
const (
	errInUse    = windows.WSAEADDRINUSE
	errNotOurs  = windows.WSAEADDRNOTAVAIL
	errNoAccess = windows.WSAEACCES
)
