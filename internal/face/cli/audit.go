package cli

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-dev/penstock/internal/host/audit"
)

func newAudit(g *Globals) *cobra.Command {
	var actor, project, outcome string
	limit := 30
	c := &cobra.Command{
		Use:   "audit",
		Short: "Show who wrote what, newest first",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := g.Client()
			if err != nil {
				return err
			}
			q := url.Values{"limit": {strconv.Itoa(limit)}}
			for k, v := range map[string]string{"actor": actor, "project": project, "outcome": outcome} {
				if v != "" {
					q.Set(k, v)
				}
			}
			var page struct {
				Items []audit.Entry `json:"items"`
			}
			if err := cl.Do(c.Context(), http.MethodGet, "/api/v1/audit?"+q.Encode(), nil, &page); err != nil {
				return repoError("read the audit log", "", err)
			}
			return g.Print(page.Items, func(w io.Writer) {
				fmt.Fprintln(w, "TIME\tACTOR\tOPERATION\tPROJECT\tNAME\tOUTCOME\tREQUEST")
				for _, e := range page.Items {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.Time.Local().Format(time.DateTime), orDash(e.Actor), e.Operation, orDash(e.Project), orDash(e.Name), e.Outcome, e.Request)
				}
			})
		},
	}
	c.Flags().StringVar(&actor, "actor", "", "only what this `user` wrote")
	c.Flags().StringVar(&project, "project", "", "only in this `project`")
	c.Flags().StringVar(&outcome, "outcome", "", "only what was `succeeded`, refused or failed")
	c.Flags().IntVar(&limit, "limit", limit, "at most this `many`")
	return c
}
