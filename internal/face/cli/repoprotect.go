package cli

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-dev/penstock/internal/face/client"
	"github.com/penstock-dev/penstock/internal/host/git"
)

func protectionPath(repo string) string {
	return "/api/v1/repos/" + escapeRepo(repo) + "/protection"
}

func newRepoProtect(g *Globals) *cobra.Command {
	var r git.Rule
	c := &cobra.Command{
		Use:   "protect OWNER/NAME [PATTERN]",
		Short: "Protect branches that match a pattern; without one, list the rules",
		Long: `Protect branches that match a pattern, as on GitHub: they can then neither be
deleted nor be rewritten, by anybody. "*" stops at "/", "**/" stands for any
number of directories; a pattern that begins with "refs/" is for full names, so
that refs/tags/v* protects tags. Setting a rule again replaces it.`,
		Example: `  penstock repo protect demo/shop main --linear --push role:approver,ann
  penstock repo protect demo/shop main --require "CI / test"
  penstock repo protect demo/shop`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := g.Client()
			if err != nil {
				return err
			}
			if len(args) == 2 {
				r.Pattern = args[1]
				if err := cl.Do(c.Context(), http.MethodPut, protectionPath(args[0]), r, nil); err != nil {
					return repoError("protect", args[0], err)
				}
				fmt.Fprintf(g.Err, "%s of %s is protected\n", r.Pattern, args[0])
				return nil
			}
			rules, err := client.All[git.Rule](c.Context(), cl, protectionPath(args[0]), nil)
			if err != nil {
				return repoError("list rules", args[0], err)
			}
			return g.Print(rules, func(w io.Writer) {
				if len(rules) == 0 {
					fmt.Fprintf(g.Err, "no rules; protect a branch with: penstock repo protect %s main\n", args[0])
					return
				}
				fmt.Fprintln(w, "PATTERN\tPUSH\tREQUIRES\tALLOWS")
				for _, r := range rules {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.Pattern, orDash(strings.Join(r.Push, ",")), orDash(strings.Join(requires(r), ", ")), orDash(strings.Join(allows(r), ", ")))
				}
			})
		},
	}
	f := c.Flags()
	f.StringSliceVar(&r.Push, "push", nil, "`users`, or role:NAME, who alone may push")
	f.BoolVar(&r.Linear, "linear", false, "no merge commits")
	f.StringArrayVar(&r.RequireStatus, "require", nil, "`check` that a commit must have passed: the name of a CI job, or \"WORKFLOW / JOB\"; may be repeated")
	f.BoolVar(&r.AllowForce, "allow-force", false, "let history be rewritten")
	f.BoolVar(&r.AllowDelete, "allow-delete", false, "let the branch be deleted")
	return c
}

func requires(r git.Rule) []string {
	out := r.RequireStatus
	if r.Linear {
		out = append([]string{"linear history"}, out...)
	}
	return out
}

func allows(r git.Rule) (out []string) {
	if r.AllowForce {
		out = append(out, "rewriting")
	}
	if r.AllowDelete {
		out = append(out, "deletion")
	}
	return out
}

func newRepoUnprotect(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:   "unprotect OWNER/NAME PATTERN",
		Short: "Remove the rule with a pattern",
		Args:  cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return g.remove(c.Context(), protectionPath(args[0])+"?pattern="+url.QueryEscape(args[1]), "unprotect", args[0], args[1]+" of "+args[0]+" is protected no more")
		},
	}
}
