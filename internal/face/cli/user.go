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
	"github.com/penstock-dev/penstock/internal/host/access"
	"github.com/penstock-dev/penstock/internal/host/identity"
)

func newUser(g *Globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "user",
		Short: "Users and their roles",
		Long: `Users and their roles: reader, developer, approver, admin.

What a role may do is a ClusterRole penstock:ROLE in the cluster; a role in one
project is a RoleBinding in the namespace of that name. kubectl sees both.`,
	}
	c.AddCommand(newUserCreate(g), newUserList(g), newUserDelete(g), newUserGrant(g), newUserRevoke(g))
	return c
}

func newUserCreate(g *Globals) *cobra.Command {
	var n api.NewUser
	c := &cobra.Command{
		Use:     "create NAME",
		Short:   "Create a user",
		Example: "  penstock user create ann --role developer\n  penstock user create bob && penstock user grant bob --role developer --project demo",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := g.Client()
			if err != nil {
				return err
			}
			n.Name = args[0]
			var u identity.User
			if err := cl.Do(c.Context(), http.MethodPost, "/api/v1/users", n, &u); err != nil {
				return repoError("create user", args[0], err)
			}
			return g.Print(u, func(w io.Writer) {
				fmt.Fprintf(w, "Created %s\nLet them in with: penstock login-link --user %s\n", u.Name, u.Name)
			})
		},
	}
	c.Flags().StringArrayVar(&n.Roles, "role", nil, "`role` in all projects; may be repeated")
	return c
}

func newUserList(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List users",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := g.Client()
			if err != nil {
				return err
			}
			users, err := client.All[identity.User](c.Context(), cl, "/api/v1/users", nil)
			if err != nil {
				return repoError("list users", "", err)
			}
			return g.Print(users, func(w io.Writer) {
				if len(users) == 0 {
					fmt.Fprintln(g.Err, "no users besides this machine's administrator; create one with: penstock user create NAME")
					return
				}
				fmt.Fprintln(w, "NAME\tROLES\tAGE")
				for _, u := range users {
					fmt.Fprintf(w, "%s\t%s\t%s\n", u.Name, orDash(strings.Join(u.Roles, ",")), shortAge(time.Since(u.CreatedAt)))
				}
			})
		},
	}
}

func newUserDelete(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a user with all tokens, sessions and roles",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return g.remove(c.Context(), "/api/v1/users/"+url.PathEscape(args[0]), "delete user", args[0], "deleted "+args[0])
		},
	}
}

func newUserGrant(g *Globals) *cobra.Command {
	var n api.NewGrant
	c := &cobra.Command{
		Use:     "grant NAME --role ROLE --project PROJECT",
		Short:   "Give a user a role in one project",
		Example: "  penstock user grant bob --role developer --project demo",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := g.Client()
			if err != nil {
				return err
			}
			var given access.Grant
			if err := cl.Do(c.Context(), http.MethodPost, "/api/v1/users/"+url.PathEscape(args[0])+"/roles", n, &given); err != nil {
				return repoError("give a role to", args[0], err)
			}
			return g.Print(given, func(w io.Writer) {
				fmt.Fprintf(w, "%s is %s in %s\n", given.User, given.Role, given.Project)
			})
		},
	}
	roleFlags(c, &n.Role, &n.Project)
	return c
}

func newUserRevoke(g *Globals) *cobra.Command {
	var role, project string
	c := &cobra.Command{
		Use:   "revoke NAME --role ROLE --project PROJECT",
		Short: "Take a role in one project from a user",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := g.Client()
			if err != nil {
				return err
			}
			path := "/api/v1/users/" + url.PathEscape(args[0]) + "/roles/" + url.PathEscape(project) + "/" + url.PathEscape(role)
			if err := cl.Do(c.Context(), http.MethodDelete, path, nil, nil); err != nil {
				return repoError("take a role from", args[0], err)
			}
			fmt.Fprintf(g.Err, "%s is no longer %s in %s\n", args[0], role, project)
			return nil
		},
	}
	roleFlags(c, &role, &project)
	return c
}

func roleFlags(c *cobra.Command, role, project *string) {
	c.Flags().StringVar(role, "role", "", "`role`: reader, developer, approver or admin")
	c.Flags().StringVar(project, "project", "", "`project`: owner of repositories, namespace in the cluster")
	for _, name := range []string{"role", "project"} {
		_ = c.MarkFlagRequired(name) // it exists
	}
}
