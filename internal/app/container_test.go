package app

import (
	"errors"
	"testing"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

func TestParseRuntime(t *testing.T) {
	for in, want := range map[string][2]string{
		"sandbox": {"sandbox", ""}, "process": {"process", ""}, "container:node:20": {"container", "node:20"},
		"container:oci:/var/images:node": {"container", "oci:/var/images:node"},
		"container":                      {}, "container:": {}, "sandbox:x": {}, "docker": {}, "": {},
	} {
		kind, image, err := parseRuntime(in)
		if kind != want[0] || image != want[1] || (err == nil) != (want[0] != "") {
			t.Errorf("%q: %q, %q, %v", in, kind, image, err)
		}
		var p *problem.Error
		if err != nil && (!errors.Is(err, problem.ErrUsage) || !errors.As(err, &p) || p.Hint == "") {
			t.Errorf("%q: no usage error with a hint: %v", in, err)
		}
	}
}
