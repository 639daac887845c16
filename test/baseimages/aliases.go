package main

import (
	_ "embed"
	"fmt"
	"strings"
)

//go:embed aliases.tsv
var aliasTable string

// readAliases reads the names that upstream's files use for each image.
func readAliases() (map[string][]string, error) {
	out := map[string][]string{}
	for i, line := range strings.Split(strings.TrimSpace(aliasTable), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) != 3 {
			return nil, fmt.Errorf("aliases.tsv:%d: %d columns, want 3", i+1, len(f))
		}
		out[f[1]] = append(out[f[1]], f[0])
	}
	return out, nil
}
