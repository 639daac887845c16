//go:build unix && !linux

package stdio

// unreadRequest asks how much a pipe holds: FIONREAD of the BSDs and macOS.
const unreadRequest = 0x4004667f
