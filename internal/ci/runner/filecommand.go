package runner

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/penstock-dev/penstock/internal/base/id"
)

// The files through which a step speaks to the runner, by the name under which
// the step finds each.
const (
	fileEnv     = "GITHUB_ENV"
	fileOutput  = "GITHUB_OUTPUT"
	filePath    = "GITHUB_PATH"
	fileState   = "GITHUB_STATE"
	fileSummary = "GITHUB_STEP_SUMMARY"
)

var fileCommands = []string{fileEnv, fileOutput, filePath, fileState, fileSummary}

const (
	maxFileCommand = 16 << 20
	maxSummary     = 1 << 20
)

// assignment is one NAME=VALUE of a command file.
type assignment struct{ name, value string }

// parseAssignments reads the grammar of the env, output and state files.
func parseAssignments(text string) ([]assignment, error) {
	var out []assignment
	line := func() (string, bool) { // the next line; whether a newline ended it
		l, rest, ok := strings.Cut(text, "\n")
		text = rest
		return l, ok
	}
	for text != "" {
		l, _ := line()
		if l == "" {
			continue
		}
		equals, heredoc := strings.Index(l, "="), strings.Index(l, "<<")
		switch {
		case equals >= 0 && (heredoc < 0 || equals < heredoc):
			if equals == 0 {
				return out, fmt.Errorf("Invalid format '%s'. Name must not be empty", l) //nolint:staticcheck // GitHub's words
			}
			out = append(out, assignment{l[:equals], l[equals+1:]})
		case heredoc >= 0:
			name, delimiter := l[:heredoc], l[heredoc+2:]
			if name == "" || delimiter == "" {
				return out, fmt.Errorf("Invalid format '%s'. Name must not be empty and delimiter must not be empty", l) //nolint:staticcheck // GitHub's words
			}
			var value []string
			for {
				if text == "" {
					return out, fmt.Errorf("Invalid value. Matching delimiter not found '%s'", delimiter) //nolint:staticcheck // GitHub's words
				}
				l, ended := line()
				if l == delimiter {
					break
				}
				if !ended {
					return out, fmt.Errorf("Invalid value. EOF value must be followed by a newline and the delimiter '%s'", delimiter) //nolint:staticcheck // GitHub's words
				}
				value = append(value, l)
			}
			out = append(out, assignment{name, strings.Join(value, "\n")})
		default:
			return out, fmt.Errorf("Invalid format '%s'", l) //nolint:staticcheck // GitHub's words
		}
	}
	return out, nil
}

// commandFiles are the files of the step that runs.
type commandFiles struct {
	root  *os.Root // the directory, so that no link made by a step leads out of it
	dir   string
	names map[string]string // by variable
}

const commandDir = "_runner_file_commands"

var filePrefixes = map[string]string{fileEnv: "set_env_", fileOutput: "set_output_", filePath: "add_path_",
	fileState: "save_state_", fileSummary: "step_summary_"}

func newCommandFiles(temp *os.Root) (*commandFiles, error) {
	if err := temp.Mkdir(commandDir, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	root, err := temp.OpenRoot(commandDir)
	if err != nil {
		return nil, err
	}
	return &commandFiles{root: root, dir: filepath.Join(temp.Name(), commandDir), names: map[string]string{}}, nil
}

// renew gives the next step files that hold nothing: new ones for those that
// were written to, the same ones otherwise. Making files is what costs a step
// most.
func (c *commandFiles) renew() error {
	for _, file := range fileCommands {
		if name := c.names[file]; name != "" {
			if fi, err := c.root.Lstat(name); err == nil && fi.Mode().IsRegular() && fi.Size() == 0 {
				continue
			}
			_ = c.root.RemoveAll(name) // the job's directory goes at its end anyway
		}
		name := filePrefixes[file] + id.New()
		f, err := c.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		c.names[file] = name
	}
	return nil
}

func (c *commandFiles) path(file string) string { return filepath.Join(c.dir, c.names[file]) }

// read returns what the step wrote. A file that the step removed is empty.
func (c *commandFiles) read(file string, limit int64) (string, error) {
	fi, err := c.root.Lstat(c.names[file])
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if !fi.Mode().IsRegular() {
		return "", fmt.Errorf("the file of %s is not a regular file any more", file)
	}
	if fi.Size() == 0 {
		return "", nil
	}
	if fi.Size() > limit {
		return "", fmt.Errorf("the content of %s is larger than %d bytes", file, limit)
	}
	// What a background process of the step puts here meanwhile must not keep
	// us waiting, as a pipe would.
	f, err := c.root.OpenFile(c.names[file], os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if fi, err = f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return "", fmt.Errorf("the file of %s is not a regular file any more", file)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit))
	return string(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))), err
}

func (c *commandFiles) close() error { return c.root.Close() }
