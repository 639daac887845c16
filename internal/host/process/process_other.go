//go:build !linux

package process

import (
	"context"
	"errors"
	"time"
)

var errUnsupported = errors.New("penstock runs its own processes on Linux only")

// Find finds nothing here.
func Find(string, string) (*Process, bool) { return nil, false }

// Start fails here.
func Start(string, Spec) (*Process, error) { return nil, errUnsupported }

// Alive is false here.
func (p *Process) Alive() bool { return false }

func outdated(*Process, Spec) bool { return false }

func (p *Process) record(string) error { return errUnsupported }

// Wait returns at once here.
func (p *Process) Wait(context.Context) error { return nil }

// Stop has nothing to stop here.
func (p *Process) Stop(context.Context, time.Duration) error { return nil }

// Launch launches nothing here.
func Launch([]string) {}

// Lock fails here.
func Lock(string) (release func(), err error) { return nil, errUnsupported }

// LockHolder is nobody here.
func LockHolder(string) int { return 0 }
