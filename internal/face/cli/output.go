package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"sigs.k8s.io/yaml"
)

// Print writes v in the chosen format: as JSON or YAML, or through table for
// people. table gets a writer that aligns tab-separated columns.
func (g *Globals) Print(v any, table func(w io.Writer)) error {
	switch g.Output {
	case "json":
		enc := json.NewEncoder(g.Out)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	case "yaml":
		b, err := yaml.Marshal(v)
		if err != nil {
			return fmt.Errorf("encode as yaml: %w", err)
		}
		_, err = g.Out.Write(b)
		return err
	}
	w := tabwriter.NewWriter(g.Out, 0, 4, 2, ' ', 0)
	table(w)
	return w.Flush()
}
