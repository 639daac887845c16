package cli

import (
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/penstock-dev/penstock/internal/face/api"
	"github.com/penstock-dev/penstock/internal/face/client"
	"github.com/penstock-dev/penstock/internal/host/git"
)

const aliasPath = "/api/v1/repo-aliases"

func newRepoAlias(g *Globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "alias",
		Short: "Outside addresses that stand for hosted repositories",
		Long: `Outside addresses that stand for hosted repositories: files that name
https://github.com/acme/shop then mean the repository here.`,
	}
	c.AddCommand(newRepoAliasAdd(g), newRepoAliasList(g), newRepoAliasRemove(g))
	return c
}

func newRepoAliasAdd(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:     "add ADDRESS OWNER/NAME",
		Short:   "Let an outside address stand for a hosted repository",
		Example: "  penstock repo alias add github.com/acme/shop acme/shop",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := g.Client()
			if err != nil {
				return err
			}
			var a git.Alias
			if err := cl.Do(c.Context(), http.MethodPost, aliasPath, api.NewAlias{Address: args[0], Repository: args[1]}, &a); err != nil {
				return repoError("add alias", args[0], err)
			}
			return g.Print(a, func(w io.Writer) { fmt.Fprintf(w, "%s stands for %s\n", a.Address, a.Repo) })
		},
	}
}

func newRepoAliasList(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List outside addresses",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := g.Client()
			if err != nil {
				return err
			}
			all, err := client.All[git.Alias](c.Context(), cl, aliasPath, nil)
			if err != nil {
				return repoError("list aliases", "", err)
			}
			return g.Print(all, func(w io.Writer) {
				if len(all) == 0 {
					fmt.Fprintln(g.Err, "no aliases; add one with: penstock repo alias add ADDRESS OWNER/NAME")
					return
				}
				fmt.Fprintln(w, "ADDRESS\tREPOSITORY")
				for _, a := range all {
					fmt.Fprintf(w, "%s\t%s\n", a.Address, a.Repo)
				}
			})
		},
	}
}

func newRepoAliasRemove(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:     "remove ADDRESS",
		Aliases: []string{"rm"},
		Short:   "Remove an outside address",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return g.remove(c.Context(), aliasPath+"?address="+url.QueryEscape(args[0]), "remove alias", args[0], "removed "+args[0])
		},
	}
}
