package cli

import (
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/face/api"
	"github.com/penstock-dev/penstock/internal/face/client"
)

func newImageAlias(g *Globals) *cobra.Command {
	remove := ""
	c := &cobra.Command{
		Use:   "alias [NAME REPOSITORY]",
		Short: "Give images of this registry the names of images elsewhere",
		Long: `Give a repository of images on this machine the name of one elsewhere, so that
files which name that one stay as they are: Pods, Dockerfiles and workflows get
the image from here. Both names may end in /*, which stands for whatever
follows. Without arguments, list the aliases.`,
		Example: `  penstock image alias docker.io/library/busybox library/busybox
  penstock image alias 'ghcr.io/my-org/*' 'my-org/*'
  penstock image alias --remove docker.io/library/busybox`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 2 && remove == "" || len(args) == 0 {
				return nil
			}
			return fmt.Errorf("%w: give a name and a repository, or neither", problem.ErrUsage)
		},
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := g.Client()
			if err != nil {
				return err
			}
			const path = "/api/v1/image-aliases"
			switch {
			case remove != "":
				if err := cl.Do(c.Context(), http.MethodDelete, path+"?name="+url.QueryEscape(remove), nil, nil); err != nil {
					return &problem.Error{Op: "remove alias", Subject: remove, Err: err, Hint: "penstock image alias lists them"}
				}
				fmt.Fprintln(g.Out, remove)
				return nil
			case len(args) == 2:
				var set api.ImageAlias
				if err := cl.Do(c.Context(), http.MethodPut, path, api.ImageAlias{Name: args[0], Repository: args[1]}, &set); err != nil {
					return &problem.Error{Op: "set alias", Subject: args[0], Err: err}
				}
				return g.printAliases([]api.ImageAlias{set})
			}
			all, err := client.All[api.ImageAlias](c.Context(), cl, path, nil)
			if err != nil {
				return &problem.Error{Op: "list aliases", Err: err}
			}
			return g.printAliases(all)
		},
	}
	c.Flags().StringVar(&remove, "remove", "", "remove the alias of this `name`")
	return c
}

func (g *Globals) printAliases(all []api.ImageAlias) error {
	return g.Print(all, func(w io.Writer) {
		if len(all) == 0 {
			fmt.Fprintln(g.Err, "no aliases; add one with: penstock image alias NAME REPOSITORY")
			return
		}
		fmt.Fprintln(w, "NAME\tREPOSITORY")
		for _, a := range all {
			fmt.Fprintf(w, "%s\t%s\n", a.Name, a.Repository)
		}
	})
}
