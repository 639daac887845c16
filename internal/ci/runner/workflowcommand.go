package runner

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/base/redact"
	"github.com/penstock-dev/penstock/internal/ci/jobdir"
)

// line takes one line of output: it carries a workflow command out, everything
// else goes to the log.
func (s *step) line(text string) {
	c, ok := parseCommand(text, s.stopToken)
	switch {
	case !ok:
		s.log.Print(text)
	case s.stopToken != "" && !strings.EqualFold(c.name, s.stopToken):
		s.log.Print(text) // commands are stopped
	case s.stopToken != "":
		s.stopToken = ""
		s.log.Print(text)
	default:
		if err := s.command(c, text); err != nil {
			s.failed = true
			shown := text
			if c.name == "add-mask" {
				shown = "::add-mask::" + redact.Hidden // it could not be hidden
			}
			s.log.Print(fmt.Sprintf("##[error]Unable to process command '%s' successfully: %s", shown, err))
		}
	}
}

// allowUnsecure re-enables commands that GitHub switched off for safety.
const allowUnsecure = "ACTIONS_ALLOW_UNSECURE_COMMANDS"

func (s *step) command(c command, text string) error {
	if s.echo && !map[string]bool{"add-mask": true, "debug": true, "notice": true, "warning": true, "error": true, "group": true, "endgroup": true}[c.name] {
		s.log.Print(text)
	}
	switch c.name {
	case "group":
		s.log.Print("##[group]" + c.data)
	case "endgroup":
		s.log.Print("##[endgroup]")
	case "debug":
		if s.env.values["RUNNER_DEBUG"] == "1" {
			s.log.Print("##[debug]" + c.data)
		}
	case "notice", "warning", "error":
		s.log.Print("##[" + c.name + "]" + c.data)
		s.annotate(s.note(c))
	case "add-mask":
		if strings.TrimSpace(c.data) == "" {
			s.annotate(jobdir.Note{Level: "warning", Message: "Can't add secret mask for empty string in ##[add-mask] command."})
			return nil
		}
		if err := s.job.mask.Add(c.data); err != nil {
			return err
		}
		s.log.Print("::add-mask::" + redact.Hidden)
	case "echo":
		switch strings.ToUpper(c.data) {
		case "ON":
			s.echo = true
		case "OFF":
			s.echo = false
		default:
			return errors.New("invalid echo command value; possible values: on, off")
		}
	case "stop-commands":
		return s.stopCommands(c.data)
	default:
		return s.legacy(c)
	}
	return nil
}

// legacy carries out the commands that files have replaced.
func (s *step) legacy(c command) error {
	name := c.props["name"]
	switch c.name {
	case "set-output", "save-state":
		if name == "" {
			return fmt.Errorf("Required field 'name' is missing in ##[%s] command.", c.name) //nolint:staticcheck,revive // GitHub's words
		}
		s.annotate(jobdir.Note{Level: "warning", Message: "The `" + c.name + "` command is deprecated. Use the file named by " +
			map[string]string{"set-output": fileOutput, "save-state": fileState}[c.name] + "."})
		if c.name == "set-output" {
			s.SetOutput(name, c.data)
			return nil
		}
		s.SetState(name, c.data)
	case "set-env", "add-path":
		if !strings.EqualFold(s.env.values[allowUnsecure], "true") {
			return fmt.Errorf("the command `%s` is disabled; use the file named by %s, or set %s to true", c.name,
				map[string]string{"set-env": fileEnv, "add-path": filePath}[c.name], allowUnsecure)
		}
		if c.name == "add-path" {
			s.AddPath(c.data)
			return nil
		}
		if name == "" {
			return errors.New("Required field 'name' is missing in ##[set-env] command.") //nolint:staticcheck,revive // GitHub's words
		}
		return s.setEnv(name, c.data)
	case "add-matcher", "remove-matcher":
		s.annotate(jobdir.Note{Level: "warning", Message: "Problem matchers are not supported yet by this version of Penstock; `" + c.name + "` has no effect."})
	case "internal-set-repo-path":
		return errors.New("this command is for GitHub's own checkout action")
	}
	return nil
}

func (s *step) stopCommands(token string) error {
	if token == "" || commandNames[strings.ToLower(token)] || strings.EqualFold(token, "pause-logging") {
		if !strings.EqualFold(s.env.values["ACTIONS_ALLOW_UNSECURE_STOPCOMMAND_TOKENS"], "true") || token == "" {
			return fmt.Errorf("invalid stop-commands token '%s'", token)
		}
	}
	if len(token) > 6 {
		if err := s.job.mask.Add(token); err != nil {
			return err
		}
	}
	s.stopToken = token
	return nil
}

// setEnv sets a variable for the steps that follow.
func (s *step) setEnv(name, value string) error {
	if strings.EqualFold(name, "NODE_OPTIONS") {
		s.annotate(jobdir.Note{Level: "error", Message: "Can't store NODE_OPTIONS output parameter using '$GITHUB_ENV' command."})
		return nil
	}
	if name == "" || strings.ContainsAny(name, "=\x00") {
		return fmt.Errorf("'%s' cannot be the name of an environment variable", name)
	}
	s.job.env.set(name, value)
	return nil
}

const (
	maxNotes       = 10
	maxNoteMessage = 4096
)

// annotate adds an annotation to the run: at most ten of a level per step.
func (s *step) annotate(n jobdir.Note) {
	if s.notes == nil {
		s.notes = map[string]int{}
	}
	if s.notes[n.Level]++; s.notes[n.Level] > maxNotes {
		return
	}
	n.Message = s.job.mask.Mask(n.Message)
	if len(n.Message) > maxNoteMessage {
		n.Message = n.Message[:maxNoteMessage]
	}
	n.Title, n.File = s.job.mask.Mask(n.Title), s.job.mask.Mask(n.File)
	if err := s.job.journal.Append(jobdir.Entry{Type: jobdir.Annotation, At: time.Now(), Step: s.number, Note: &n}); err != nil {
		s.job.Log.Error("annotation lost", "error", err)
	}
}

// note reads and repairs the properties of an annotation command.
func (s *step) note(c command) jobdir.Note {
	number := func(key string) int {
		n, err := strconv.Atoi(c.props[key])
		if err != nil || n < 0 {
			return 0
		}
		return n
	}
	n := jobdir.Note{Level: c.name, Title: c.props["title"], File: c.props["file"], Message: c.data,
		Line: number("line"), EndLine: number("endline"), Col: number("col"), EndCol: number("endcolumn")}
	if n.EndLine > 0 && n.Line == 0 {
		n.Line = n.EndLine
	}
	if n.EndCol > 0 && n.Col == 0 {
		n.Col = n.EndCol
	}
	if n.Line == 0 || n.EndLine > 0 && n.Line != n.EndLine {
		n.Col, n.EndCol = 0, 0
	}
	if n.EndLine < n.Line {
		n.EndLine = 0
	}
	if n.EndCol < n.Col {
		n.EndCol = 0
	}
	if rel, err := filepath.Rel(s.job.workspace, n.File); err == nil && filepath.IsAbs(n.File) && filepath.IsLocal(rel) {
		n.File = filepath.ToSlash(rel)
	}
	return n
}

// takeFiles reads what the step wrote into its command files. A fault in one
// of them fails the step and does not keep the others from being read.
func (s *step) takeFiles() error {
	var errs []error
	read := func(file string, limit int64, take func(text string) error) {
		text, err := s.files.read(file, limit)
		if err == nil && text != "" {
			err = take(text)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("Unable to process file command '%s' successfully: %w", file, err)) //nolint:staticcheck // GitHub's words
		}
	}
	assignments := func(set func(name, value string) error) func(string) error {
		return func(text string) error {
			list, err := parseAssignments(text)
			if err != nil {
				return err
			}
			for _, a := range list {
				if err := set(a.name, a.value); err != nil {
					return err
				}
			}
			return nil
		}
	}
	read(filePath, maxFileCommand, func(text string) error {
		for _, dir := range strings.Split(text, "\n") {
			if dir = strings.TrimSuffix(dir, "\r"); dir != "" {
				s.AddPath(dir)
			}
		}
		return nil
	})
	read(fileEnv, maxFileCommand, assignments(s.setEnv))
	read(fileOutput, maxFileCommand, assignments(func(n, v string) error { s.SetOutput(n, v); return nil }))
	read(fileState, maxFileCommand, assignments(func(n, v string) error { s.SetState(n, v); return nil }))
	read(fileSummary, maxSummary, s.saveSummary)
	return errors.Join(errs...)
}
