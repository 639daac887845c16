package stdio

import "golang.org/x/sys/unix"

// unreadRequest asks how much a pipe holds.
const unreadRequest = unix.TIOCINQ
