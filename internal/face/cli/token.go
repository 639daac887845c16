package cli

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-dev/penstock/internal/face/api"
	"github.com/penstock-dev/penstock/internal/face/client"
	"github.com/penstock-dev/penstock/internal/host/identity"
)

func newToken(g *Globals) *cobra.Command {
	c := &cobra.Command{Use: "token", Short: "API tokens: create, list, revoke"}
	c.AddCommand(newTokenCreate(g), newTokenList(g), newTokenRevoke(g))
	return c
}

func newTokenCreate(g *Globals) *cobra.Command {
	var n api.NewToken
	life := 90 * 24 * time.Hour
	c := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a token and print it, once",
		Long: `Create a token and print it, once: it is not stored.

A token does what its user may do, narrowed by scopes and projects. A scope is
* (everything), read, RESOURCE:read or RESOURCE:write; resources are those of
the API: repositories, runs, applications, tokens …`,
		Example: "  penstock token create laptop --scope runs:write --scope repositories:read --project demo\n  penstock token create bot --user ann --expires-in 24h -o json",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := g.Client()
			if err != nil {
				return err
			}
			n.Name, n.ExpiresIn = args[0], life.String()
			var t api.CreatedToken
			if err := cl.Do(c.Context(), http.MethodPost, "/api/v1/tokens", n, &t); err != nil {
				return repoError("create token", args[0], err)
			}
			return g.Print(t, func(w io.Writer) {
				fmt.Fprintln(w, t.Secret)
				fmt.Fprintf(g.Err, "token %s of %s, valid until %s; it cannot be shown again\n", t.ID, t.User, t.ExpiresAt.Local().Format(time.DateTime))
			})
		},
	}
	f := c.Flags()
	f.StringVar(&n.User, "user", "", "whom it speaks for: the `name` of a user (default: yourself)")
	f.StringArrayVar(&n.Scopes, "scope", nil, "what it opens: *, read, `RESOURCE:read` or RESOURCE:write; may be repeated (default *)")
	f.StringArrayVar(&n.Projects, "project", nil, "only in this `project`; may be repeated")
	f.DurationVar(&life, "expires-in", life, "how long it is valid")
	return c
}

func newTokenList(g *Globals) *cobra.Command {
	user, all := "", false
	c := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List tokens, without their secrets",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := g.Client()
			if err != nil {
				return err
			}
			if all {
				user = "*"
			}
			tokens, err := client.All[identity.Token](c.Context(), cl, "/api/v1/tokens", url.Values{"user": {user}})
			if err != nil {
				return repoError("list tokens", "", err)
			}
			return g.Print(tokens, func(w io.Writer) { printTokens(w, g.Err, tokens) })
		},
	}
	c.Flags().StringVar(&user, "user", "", "tokens of this `user` (default: your own)")
	c.Flags().BoolVarP(&all, "all", "A", false, "everybody's")
	c.MarkFlagsMutuallyExclusive("user", "all")
	return c
}

func printTokens(w, errw io.Writer, tokens []identity.Token) {
	if len(tokens) == 0 {
		fmt.Fprintln(errw, "no tokens; create one with: penstock token create NAME")
		return
	}
	fmt.Fprintln(w, "ID\tUSER\tNAME\tSCOPES\tPROJECTS\tUSED\tEXPIRES")
	for _, t := range tokens {
		projects, used, expires := "all", "never", "in "+shortAge(time.Until(t.ExpiresAt))
		if len(t.Projects) > 0 {
			projects = strings.Join(t.Projects, ",")
		}
		if !t.UsedAt.IsZero() {
			used = shortAge(time.Since(t.UsedAt)) + " ago"
		}
		if !time.Now().Before(t.ExpiresAt) {
			expires = "expired"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", t.ID, t.User, t.Name, strings.Join(t.Scopes, ","), projects, used, expires)
	}
}

func newTokenRevoke(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:   "revoke ID",
		Short: "Revoke a token: it ends at once",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return g.remove(c.Context(), "/api/v1/tokens/"+url.PathEscape(args[0]), "revoke token", args[0], "revoked "+args[0])
		},
	}
}
