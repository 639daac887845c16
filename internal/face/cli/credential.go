package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// newCredential is a git credential helper: git asks it for the password of a
// server and gets this machine's token, for our server only.
func newCredential(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:       "credential get|store|erase",
		Short:     "Give git the token of this machine's server (a git credential helper)",
		Long:      "Give git the token of this machine's server. git calls this; to let it do so:\n  git config --global credential." + g.Server + ".helper " + credentialHelper(g) + "\nIt answers for the server it was started with and no other. Nothing is stored.",
		Args:      cobra.ExactArgs(1),
		ValidArgs: []string{"get", "store", "erase"},
		RunE: func(_ *cobra.Command, args []string) error {
			asked, err := readCredential(io.LimitReader(g.In, 64<<10))
			if err != nil {
				return fmt.Errorf("read what git asks for: %w", err)
			}
			switch args[0] {
			case "get":
			case "store", "erase": // the token is ours to keep
				return nil
			default:
				return fmt.Errorf("%w: git's credential helpers know get, store and erase, not %q", problem.ErrUsage, args[0])
			}
			if !sameServer(asked, g.Server) {
				return nil // another helper may know
			}
			cl, err := g.Client()
			if err != nil {
				return err
			}
			token := cl.Token()
			if token == "" {
				return &problem.Error{Op: "give git the access token", Err: errors.New("there is none under " + g.DataDir), Hint: "penstock up, or set PENSTOCK_TOKEN", Code: problem.ExitAuth}
			}
			_, err = fmt.Fprintf(g.Out, "username=penstock\npassword=%s\n", token)
			return err
		},
	}
}

// credentialHelper is the value of git's credential.<url>.helper, quoted for a
// shell: the command that finds the token that this command would use.
func credentialHelper(g *Globals) string {
	flags := ""
	if g.DataDir != defaultDataDir() {
		flags += " --data-dir " + shellWord(g.DataDir)
	}
	if g.Server != defaultServer {
		flags += " --server " + shellWord(g.Server)
	}
	return shellWord("!penstock" + flags + " credential")
}

var plainWord = regexp.MustCompile(`^[a-zA-Z0-9_./:-]+$`)

// shellWord quotes s for a shell where that is needed.
func shellWord(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// readCredential reads git's description of what it needs: key=value lines up
// to an empty one or the end.
func readCredential(r io.Reader) (map[string]string, error) {
	asked := map[string]string{}
	s := bufio.NewScanner(r)
	for s.Scan() && s.Text() != "" {
		k, v, ok := strings.Cut(s.Text(), "=")
		if !ok {
			return nil, fmt.Errorf("line without '=': %w", problem.ErrInvalid)
		}
		asked[k] = v
	}
	return asked, s.Err()
}

// sameServer says whether git asks about server, by scheme, name and port.
func sameServer(asked map[string]string, server string) bool {
	u, err := url.Parse(server)
	return err == nil && u.Host != "" && strings.EqualFold(asked["protocol"], u.Scheme) && strings.EqualFold(asked["host"], u.Host)
}
