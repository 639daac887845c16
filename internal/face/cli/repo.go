package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/face/api"
	"github.com/penstock-dev/penstock/internal/face/client"
)

func newRepo(g *Globals) *cobra.Command {
	c := &cobra.Command{Use: "repo", Short: "Hosted Git repositories"}
	c.AddCommand(newRepoCreate(g), newRepoGet(g), newRepoList(g), newRepoDelete(g), newRepoImport(g), newRepoMirror(g),
		newRepoProtect(g), newRepoUnprotect(g), newRepoAlias(g))
	return c
}

func newRepoCreate(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:     "create OWNER/NAME",
		Short:   "Create an empty repository and say how to push to it",
		Example: "  penstock repo create demo/shop",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := g.Client()
			if err != nil {
				return err
			}
			var repo api.Repo
			if err := cl.Do(c.Context(), http.MethodPost, "/api/v1/repos", api.NewRepo{Name: args[0]}, &repo); err != nil {
				return repoError("create repository", args[0], err)
			}
			return g.Print(repo, func(w io.Writer) { printRepoCreated(w, repo, g.Server, credentialHelper(g)) })
		},
	}
}

func printRepoCreated(w io.Writer, repo api.Repo, server, helper string) {
	fmt.Fprintf(w, `Created %s
  %s

Let git on this machine know the token, once:
  git config --global credential.%s.helper %s

Push an existing repository:
  git remote add penstock %s
  git push -u penstock %s
`, repo.Name, repo.CloneURL, server, helper, repo.CloneURL, repo.DefaultBranch)
}

func newRepoList(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List repositories",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := g.Client()
			if err != nil {
				return err
			}
			all, err := client.All[api.Repo](c.Context(), cl, "/api/v1/repos", nil)
			if err != nil {
				return repoError("list repositories", "", err)
			}
			return g.Print(all, func(w io.Writer) {
				if len(all) == 0 {
					fmt.Fprintln(g.Err, "no repositories; create one with: penstock repo create OWNER/NAME")
					return
				}
				fmt.Fprintln(w, "NAME\tDEFAULT BRANCH\tAGE\tCLONE URL\tMIRROR")
				for _, r := range all {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.Name, r.DefaultBranch, shortAge(time.Since(r.CreatedAt)), r.CloneURL, mirrorState(r.Mirror))
				}
			})
		},
	}
}

func newRepoDelete(g *Globals) *cobra.Command {
	yes := false
	c := &cobra.Command{
		Use:   "delete OWNER/NAME --yes",
		Short: "Delete a repository with all its history",
		Long:  "Delete a repository with all its history. Nothing brings it back.\nWhat was deployed from it keeps running.",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if !yes {
				return &problem.Error{
					Op: "delete repository", Subject: args[0], Code: problem.ExitUsage,
					Err:  fmt.Errorf("this removes all of its history, and --yes was not given"),
					Hint: "penstock repo delete " + args[0] + " --yes",
				}
			}
			return g.remove(c.Context(), "/api/v1/repos/"+escapeRepo(args[0]), "delete repository", args[0], "deleted "+args[0])
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "delete without asking")
	return c
}

// escapeRepo makes a name safe in a path and keeps the slash between its
// parts; the server judges the rest.
func escapeRepo(name string) string {
	u := url.URL{Path: name}
	return u.EscapedPath()
}

// repoError names what was tried, unless the error already does.
// remove deletes what is at path of the API and says done. op and subject are
// what an error tells of.
func (g *Globals) remove(ctx context.Context, path, op, subject, done string) error {
	cl, err := g.Client()
	if err != nil {
		return err
	}
	if err := cl.Do(ctx, http.MethodDelete, path, nil, nil); err != nil {
		return repoError(op, subject, err)
	}
	fmt.Fprintln(g.Err, done)
	return nil
}

func repoError(op, subject string, err error) error {
	if p := (*problem.Error)(nil); errors.As(err, &p) {
		return err
	}
	return &problem.Error{Op: op, Subject: subject, Err: err}
}
