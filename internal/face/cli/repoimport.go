package cli

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/face/api"
)

// remoteFlags are the credentials for an outside repository. A password on the
// command line would be seen by everybody on the machine.
type remoteFlags struct{ username, passwordFile string }

func (f *remoteFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.username, "username", "", "`name` for the outside repository")
	c.Flags().StringVar(&f.passwordFile, "password-file", "", "`file` with the password or token for it, - for standard input; else $PENSTOCK_REMOTE_PASSWORD")
}

// maxPassword bounds what is read as a password.
const maxPassword = 60_000

func (f *remoteFlags) password(in io.Reader) (string, error) {
	if f.passwordFile == "" {
		return os.Getenv("PENSTOCK_REMOTE_PASSWORD"), nil
	}
	r := in
	if f.passwordFile != "-" {
		file, err := os.Open(f.passwordFile)
		if err != nil {
			return "", &problem.Error{Op: "read the password", Err: err, Code: problem.ExitUsage}
		}
		defer file.Close()
		r = file
	}
	b, err := io.ReadAll(io.LimitReader(r, maxPassword+1))
	if err != nil || len(b) > maxPassword {
		return "", &problem.Error{Op: "read the password", Err: errors.Join(err, errors.New("it is too long or cannot be read")), Code: problem.ExitUsage}
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

func newRepoImport(g *Globals) *cobra.Command {
	var f remoteFlags
	c := &cobra.Command{
		Use:     "import OWNER/NAME URL",
		Short:   "Copy all refs of an outside repository into a new one, once",
		Example: "  penstock repo import acme/shop https://github.com/acme/shop",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return importRepo(c, g, &f, api.Import{Name: args[0], URL: args[1]})
		},
	}
	f.add(c)
	return c
}

func importRepo(c *cobra.Command, g *Globals, f *remoteFlags, in api.Import) error {
	password, err := f.password(g.In)
	if err != nil {
		return err
	}
	in.Username, in.Password = f.username, password
	cl, err := g.Client()
	if err != nil {
		return err
	}
	var repo api.Repo
	if err := cl.Do(c.Context(), http.MethodPost, "/api/v1/repos/import", in, &repo); err != nil {
		return repoError("import repository", in.Name, err)
	}
	return g.Print(repo, func(w io.Writer) { printRepo(w, repo) })
}

func newRepoMirror(g *Globals) *cobra.Command {
	var f remoteFlags
	var every time.Duration
	var stop, sync bool
	c := &cobra.Command{
		Use:   "mirror OWNER/NAME URL | --sync OWNER/NAME | --stop OWNER/NAME",
		Short: "Follow an outside repository: fetched now and every so often, no pushes",
		Long: `Follow an outside repository. It is fetched now and then every so often, takes
no pushes, and what a fetch changes counts as a push by "mirror".`,
		Example: "  penstock repo mirror acme/shop https://github.com/acme/shop --every 1m\n  penstock repo mirror --sync acme/shop",
		Args: func(_ *cobra.Command, args []string) error {
			want := 2
			if stop || sync {
				want = 1
			}
			if len(args) != want || stop && sync {
				return fmt.Errorf("%w: a name and a URL, or --sync or --stop with a name", problem.ErrUsage)
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if !stop && !sync {
				return importRepo(c, g, &f, api.Import{Name: args[0], URL: args[1], Every: every.String()})
			}
			cl, err := g.Client()
			if err != nil {
				return err
			}
			path := "/api/v1/repos/" + escapeRepo(args[0]) + "/mirror"
			if stop {
				if err := cl.Do(c.Context(), http.MethodDelete, path, nil, nil); err != nil {
					return repoError("stop mirror", args[0], err)
				}
				fmt.Fprintf(g.Err, "%s is no mirror any more and takes pushes\n", args[0])
				return nil
			}
			var repo api.Repo
			if err := cl.Do(c.Context(), http.MethodPost, path+"/sync", nil, &repo); err != nil {
				return repoError("fetch mirror", args[0], err)
			}
			return g.Print(repo, func(w io.Writer) { printRepo(w, repo) })
		},
	}
	f.add(c)
	c.Flags().DurationVar(&every, "every", 5*time.Minute, "how `often` it is fetched")
	c.Flags().BoolVar(&sync, "sync", false, "fetch a mirror now")
	c.Flags().BoolVar(&stop, "stop", false, "make a mirror a repository of its own, which takes pushes")
	return c
}

func newRepoGet(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:   "get OWNER/NAME",
		Short: "Show a repository",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := g.Client()
			if err != nil {
				return err
			}
			var repo api.Repo
			if err := cl.Do(c.Context(), http.MethodGet, "/api/v1/repos/"+escapeRepo(args[0]), nil, &repo); err != nil {
				return repoError("show repository", args[0], err)
			}
			return g.Print(repo, func(w io.Writer) { printRepo(w, repo) })
		},
	}
}

func printRepo(w io.Writer, r api.Repo) {
	fmt.Fprintf(w, "Name:\t%s\nClone URL:\t%s\nDefault branch:\t%s\nCreated:\t%s ago\n", r.Name, r.CloneURL, r.DefaultBranch, shortAge(time.Since(r.CreatedAt)))
	if m := r.Mirror; m != nil {
		fmt.Fprintf(w, "Mirror of:\t%s, every %s\n", m.URL, m.Every)
		if !m.FetchedAt.IsZero() {
			fmt.Fprintf(w, "Fetched:\t%s ago\n", shortAge(time.Since(m.FetchedAt)))
		}
		if m.Error != "" {
			fmt.Fprintf(w, "Last error:\t%s\n", m.Error)
		}
	}
}

// mirrorState is what a list of repositories says about one.
func mirrorState(m *api.Mirror) string {
	switch {
	case m == nil:
		return "-"
	case m.Error != "":
		return "failing: " + m.Error
	}
	return "fetched " + shortAge(time.Since(m.FetchedAt)) + " ago"
}
