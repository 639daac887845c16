package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/machine"
	"github.com/penstock-dev/penstock/internal/host/node"
)

func newImage(g *Globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "image",
		Short: "Images of the embedded cluster, and names of images elsewhere",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newImageImport(g), newImageList(g), newImageRemove(g), newImageAlias(g), newImageMirror(g))
	return c
}

// node returns the client of this machine's node.
func (g *Globals) node() (*node.Client, error) {
	m, err := machine.At(g.DataDir)
	if err != nil {
		return nil, err
	}
	return node.New(m.NodeSocket()), nil
}

func newImageImport(g *Globals) *cobra.Command {
	var name string
	c := &cobra.Command{
		Use:   "import FILE | DIRECTORY | -",
		Short: "Put an image into the cluster, where Pods can use it",
		Long: `Put an image into the cluster, where Pods can use it by its name and by
name@digest. It is an archive as "docker save" or "penstock build --output
type=oci" write it, "-" for such an archive on standard input, or a directory
in the OCI layout.`,
		Example: `  penstock image import shop.tar
  docker save shop:dev | penstock image import -
  penstock image import --name shop:dev ./layout`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			n, err := g.node()
			if err != nil {
				return err
			}
			r, err := node.OpenArchive(args[0], g.In)
			if err != nil {
				return &problem.Error{Op: "import image", Subject: args[0], Code: problem.ExitUsage, Err: err}
			}
			defer r.Close()
			list, err := n.ImportImage(c.Context(), r, name)
			if err != nil {
				return err
			}
			return g.printImages(list)
		},
	}
	c.Flags().StringVar(&name, "name", "", "`name` of the image, instead of the one in the archive")
	return c
}

func newImageList(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the images that Pods can use",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			n, err := g.node()
			if err != nil {
				return err
			}
			list, err := n.Images(c.Context())
			if err != nil {
				return err
			}
			return g.printImages(list)
		},
	}
}

func (g *Globals) printImages(list []node.Image) error {
	return g.Print(list, func(w io.Writer) {
		fmt.Fprintln(w, "NAME\tDIGEST\tSIZE\tCREATED")
		for _, i := range list {
			if strings.Contains(i.Name, "@") {
				continue // the same image again; -o json has it
			}
			fmt.Fprintf(w, "%s\t%.19s\t%s\t%s\n", i.Name, i.Digest, size(i.Size), i.CreatedAt.Local().Format("2006-01-02 15:04"))
		}
	})
}

// size writes bytes the way people read them.
func size(n int64) string {
	f, unit := float64(n), "B"
	for _, u := range []string{"kB", "MB", "GB", "TB"} {
		if f < 1000 {
			break
		}
		f, unit = f/1000, u
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, unit)
}

func newImageRemove(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:   "remove NAME...",
		Short: "Remove images; running Pods keep theirs",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			n, err := g.node()
			if err != nil {
				return err
			}
			var errs []error
			for _, name := range args {
				if err := n.RemoveImage(c.Context(), name); err != nil {
					errs = append(errs, err)
					continue
				}
				fmt.Fprintln(g.Out, name)
			}
			return errors.Join(errs...)
		},
	}
}
