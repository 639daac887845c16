// Package kubeflags sets options of the Kubernetes components the way their
// documentation names them: as flags. The option structs change from release
// to release, the flags are a stable interface.
package kubeflags

import (
	"fmt"
	"io"
	"slices"

	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"
)

// Parse sets the flags of the component name, registered by add, from values.
// An empty value sets the flag to "".
func Parse(name string, add func(*pflag.FlagSet), values map[string]string) error {
	fs := pflag.NewFlagSet(name, pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	add(fs)
	keys := make([]string, 0, len(values))
	for k := range values {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		if err := fs.Set(k, values[k]); err != nil {
			return fmt.Errorf("set --%s of %s: %w", k, name, err)
		}
	}
	return nil
}

// Named adds all sets of fss to fs.
func Named(fss cliflag.NamedFlagSets) func(*pflag.FlagSet) {
	return func(fs *pflag.FlagSet) {
		for _, f := range fss.FlagSets {
			fs.AddFlagSet(f)
		}
	}
}
