//go:build linux

package process_test

import (
	"testing"

	"github.com/penstock-dev/penstock/internal/host/exec/exectest"
	"github.com/penstock-dev/penstock/internal/host/exec/process"
)

func TestConformance(t *testing.T) { exectest.Run(t, process.New(nil)) }
