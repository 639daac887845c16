package app

import (
	"fmt"
	"strings"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// runtimes is the usage of --runtime.
const runtimes = "where steps of CI jobs run: sandbox, container:IMAGE, or process (not isolated)"

// parseRuntime reads --runtime.
func parseRuntime(s string) (kind, image string, err error) {
	kind, image, _ = strings.Cut(s, ":")
	switch {
	case s == "sandbox", s == "process", kind == "container" && image != "":
		return kind, image, nil
	case kind == "container":
		return "", "", &problem.Error{Op: "choose runtime", Subject: s, Err: fmt.Errorf("%w: it names no image", problem.ErrUsage), Hint: "for example --runtime container:docker.io/library/node:20"}
	}
	return "", "", &problem.Error{Op: "choose runtime", Subject: s, Err: fmt.Errorf("%w: it is not known", problem.ErrUsage), Hint: "it is sandbox, container:IMAGE or process"}
}
