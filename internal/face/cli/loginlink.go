package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-dev/penstock/internal/face/api"
)

func newLoginLink(g *Globals) *cobra.Command {
	user := ""
	c := &cobra.Command{
		Use:   "login-link",
		Short: "Print a link that logs a browser in, once",
		Long: `Print a link that logs a browser in. It works once and for 15 minutes.

Without --user it logs in whoever the token of this command belongs to: this
machine's administrator, where there is no other.`,
		Example: "  penstock login-link\n  penstock login-link --user ann",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			link, err := makeLoginLink(c.Context(), g, user)
			if err != nil {
				return repoError("make a login link", user, err)
			}
			return g.Print(link, func(w io.Writer) { fmt.Fprintln(w, link.URL) })
		},
	}
	c.Flags().StringVar(&user, "user", "", "whom the link logs in: the `name` of a user")
	return c
}

// linkTime bounds the making of a link, which nobody waits for at a start.
const linkTime = 10 * time.Second

func makeLoginLink(ctx context.Context, g *Globals, user string) (link api.Link, err error) {
	cl, err := g.Client()
	if err != nil {
		return link, err
	}
	ctx, cancel := context.WithTimeout(ctx, linkTime)
	defer cancel()
	return link, cl.Do(ctx, http.MethodPost, "/api/v1/login-links", map[string]string{"user": user}, &link)
}
