package runner

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// script is a run step made ready for a shell.
type script struct {
	extension string
	args      []string // {0} stands for the script's path
	body      string
	display   string
}

// shellFor chooses the command line for the `shell` of a step; path is the PATH
// of the step.
func shellFor(shell, body, path string) (script, error) {
	body = strings.ReplaceAll(body, "\r\n", "\n")
	s := script{extension: ".sh", body: body}
	switch shell {
	case "":
		name := "bash"
		if lookPath(name, path) == "" {
			name = "sh"
		}
		s.args = []string{name, "-e", "{0}"}
	case "bash":
		s.args = []string{"bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "{0}"}
	case "sh":
		s.args = []string{"sh", "-e", "{0}"}
	case "python":
		name := "python"
		if lookPath(name, path) == "" {
			name = "python3"
		}
		s.extension, s.args = ".py", []string{name, "{0}"}
	case "pwsh", "powershell", "cmd":
		return s, fmt.Errorf("shell '%s' is not supported yet by this version of Penstock", shell)
	default:
		args, err := splitShell(shell)
		if err != nil {
			return s, err
		}
		s.extension, s.args = "", args
	}
	s.display = strings.Join(s.args, " ")
	return s, nil
}

// splitShell reads a custom shell ("perl {0}") into arguments; double quotes
// keep blanks.
func splitShell(shell string) ([]string, error) {
	var args []string
	var word strings.Builder
	inWord, quoted := false, false
	for _, r := range shell {
		switch {
		case r == '"':
			quoted = !quoted
			inWord = true
		case !quoted && (r == ' ' || r == '\t'):
			if inWord {
				args = append(args, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if inWord {
		args = append(args, word.String())
	}
	if quoted || !strings.Contains(shell, "{0}") || len(args) < 2 {
		return nil, fmt.Errorf("invalid shell option '%s': must be bash, sh, python, or a command with {0} for the script", shell)
	}
	return args, nil
}

// command gives the arguments with the script's path put in.
func (s script) command(path string) []string {
	out := make([]string, len(s.args))
	for i, a := range s.args {
		out[i] = strings.ReplaceAll(a, "{0}", path)
	}
	return out
}

// lookPath finds a program in a PATH; the job sees the same programs as the
// runner does.
func lookPath(name, path string) string {
	for _, dir := range filepath.SplitList(path) {
		if fi, err := os.Stat(filepath.Join(dir, name)); err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
			return filepath.Join(dir, name)
		}
	}
	return ""
}
