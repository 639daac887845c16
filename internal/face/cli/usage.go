package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// usageErrors gives mistakes in arguments the exit code for usage, in c and
// everything below it, and makes a noun without a verb say which verbs it has.
func usageErrors(c *cobra.Command) {
	if !c.Runnable() && c.HasSubCommands() {
		c.Args = cobra.NoArgs
		c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	}
	if args := c.Args; args != nil {
		c.Args = func(c *cobra.Command, a []string) error {
			if err := args(c, a); err != nil {
				return usage(c, a, err)
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		usageErrors(sub)
	}
}

// usage explains a command line that was not understood.
func usage(c *cobra.Command, args []string, err error) error {
	hint := c.CommandPath() + " --help"
	if c.HasSubCommands() && len(args) > 0 {
		err = fmt.Errorf("%q is no command", args[0])
		c.SuggestionsMinimumDistance = 2
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			hint = c.CommandPath() + " " + near[0]
		}
	}
	return &problem.Error{Op: "read the command line", Subject: c.CommandPath(), Code: problem.ExitUsage, Err: err, Hint: hint}
}

// newHelp is cobra's help command, except that an unknown topic is an error.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Show the help of a command",
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			about, _, err := c.Root().Find(args)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var names []string
			for _, sub := range about.Commands() {
				if sub.IsAvailableCommand() {
					names = append(names, sub.Name()+"\t"+sub.Short)
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			about, rest, err := c.Root().Find(args)
			if err != nil || (len(rest) > 0 && about.HasSubCommands()) {
				return usage(c.Root(), args, fmt.Errorf("no help for %q", args))
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	}
}
