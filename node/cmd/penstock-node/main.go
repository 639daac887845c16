// Command penstock-node is Kubernetes and BuildKit for one machine.
package main

import (
	"os"
	"time"

	"github.com/penstock-dev/penstock/node/internal/cli"
)

func main() {
	started := time.Now()
	os.Exit(cli.Main(started, os.Args[1:], os.Stdout, os.Stderr))
}
