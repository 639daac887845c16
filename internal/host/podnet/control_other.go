//go:build !linux

package podnet

import "syscall"

// The embedded cluster is Linux only.
func control(string, string, syscall.RawConn) error { return nil }
