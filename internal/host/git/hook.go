package git

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/penstock-dev/penstock/internal/base/event"
	"github.com/penstock-dev/penstock/internal/base/id"
)

// The checks of a push run in this process. git's pre-receive hook is where it
// waits for them: a script that tells over one inherited pipe what is pushed
// and where the quarantined objects are, and gets the verdict over another. A
// server that is gone closes both, which refuses the push.
const preReceive = `#!/bin/sh
# Asks the Penstock server about a push; it decides.
printf 'objects %s\n' "$GIT_OBJECT_DIRECTORY" >&4 || exit 1
cat >&4 || exit 1
printf 'end\n' >&4 || exit 1
while IFS= read -r line <&5; do
	case $line in
	"say "*) printf '%s\n' "${line#say }" >&2 ;;
	ok) exit 0 ;;
	*) exit 1 ;;
	esac
done
exit 1
`

// updateHook refuses the refs listed in the file beside it. It is put in place
// only when some refs of a push pass and others do not.
const updateHook = `#!/bin/sh
! grep -qxF -e "$1" "${0%/*}/refused"
`

// writeHooks puts the scripts under the root, once: writing a program just
// before it is run races with programs that are being started elsewhere.
func writeHooks(root string) error {
	dir := filepath.Join(root, hooksName)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for name, text := range map[string]string{"pre-receive": preReceive, "update": updateHook} {
		path := filepath.Join(dir, name)
		if have, err := os.ReadFile(path); err == nil && string(have) == text {
			continue
		}
		if err := os.WriteFile(path+".new", []byte(text), 0o700); err != nil {
			return err
		}
		if err := os.Rename(path+".new", path); err != nil {
			return err
		}
	}
	return nil
}

// gate is the server's end of the hooks of one push.
type gate struct {
	server *Server
	repo   string
	actor  string
	dir    string // core.hooksPath of the push

	question, answer *os.File // our ends
	theirs           []*os.File
	done             sync.WaitGroup
	verdict          verdict // valid after close
}

// openGate prepares the hooks of a push.
func (s *Server) openGate(repo, actor string) (*gate, error) {
	g := &gate{server: s, repo: repo, actor: actor, dir: filepath.Join(s.root, pushPrefix+id.New())}
	if err := os.Mkdir(g.dir, 0o700); err != nil {
		return nil, err
	}
	err := os.Symlink(filepath.Join("..", hooksName, "pre-receive"), filepath.Join(g.dir, "pre-receive"))
	if err == nil {
		var w, r *os.File
		if g.question, w, err = os.Pipe(); err == nil {
			g.theirs = append(g.theirs, w)
			if r, g.answer, err = os.Pipe(); err == nil {
				g.theirs = append(g.theirs, r)
			}
		}
	}
	if err != nil {
		g.close()
		return nil, err
	}
	return g, nil
}

// serve answers the hook until close. The push has been started.
func (g *gate) serve(ctx context.Context) {
	for _, f := range g.theirs {
		f.Close()
	}
	g.theirs = nil
	g.done.Go(func() {
		if err := g.decide(ctx); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) {
			g.server.log.Error("push is not checked", "repo", g.repo, "error", err)
		}
		g.answer.Close()
	})
}

// close ends the gate and returns why refs were refused. The push has ended.
func (g *gate) close() map[string]string {
	for _, f := range append(g.theirs, g.question) {
		if f != nil {
			f.Close()
		}
	}
	g.done.Wait()
	if g.answer != nil {
		g.answer.Close()
	}
	if err := os.RemoveAll(g.dir); err != nil {
		g.server.log.Warn("hooks of a push stay, the next start removes them", "error", err)
	}
	return g.verdict.reasons
}

// decide reads what is pushed, runs the checks and answers.
func (g *gate) decide(ctx context.Context) error {
	objects, updates, err := readQuestion(bufio.NewReader(g.question))
	if err != nil {
		return err
	}
	var mu sync.Mutex // checks may speak from goroutines
	say := func(line string) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = io.WriteString(g.answer, "say "+oneLine(line)+"\n") // a hook that is gone has refused already
	}
	repo := g.server.dir(g.repo)
	p := Incoming{Repo: g.repo, Actor: g.actor, Updates: updates, Say: say, Objects: Objects{git: g.server.git, repo: repo, dir: quarantine(repo, objects)}}
	v, err := g.server.check(ctx, p)
	if err != nil {
		g.verdict = judge(updates, []Refusal{{Reason: "the push could not be checked"}})
		say("error: the push could not be checked, so it is refused: " + err.Error())
		_, _ = io.WriteString(g.answer, "no\n")
		return err
	}
	if refused := v.refused(); len(refused) > 0 && !v.whole {
		err := os.WriteFile(filepath.Join(g.dir, "refused"), []byte(strings.Join(refused, "\n")+"\n"), 0o600)
		if err == nil {
			err = os.Symlink(filepath.Join("..", hooksName, "update"), filepath.Join(g.dir, "update"))
		}
		if err != nil {
			_, _ = io.WriteString(g.answer, "no\n")
			return fmt.Errorf("refuse refs: %w", err)
		}
	}
	g.verdict = v
	for _, line := range v.lines {
		say(line)
	}
	word := "ok\n"
	if v.whole {
		word = "no\n"
	}
	_, err = io.WriteString(g.answer, word)
	return err
}

// maxQuestion bounds the list of refs of one push.
const maxQuestion = commandRoom

// readQuestion reads what the hook says: where the objects are and the lines
// "OLD NEW REF" of git.
func readQuestion(r *bufio.Reader) (objects string, updates []event.RefUpdate, err error) {
	for read := 0; ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", nil, err
		}
		if read += len(line); read > maxQuestion {
			return "", nil, errTooLarge
		}
		line = strings.TrimSuffix(line, "\n")
		switch {
		case line == "end":
			return objects, updates, nil
		case objects == "" && len(updates) == 0 && strings.HasPrefix(line, "objects "):
			objects = strings.TrimPrefix(line, "objects ")
		default:
			f := strings.SplitN(line, " ", 3)
			if len(f) != 3 || !fullHash.MatchString(f[0]) || !fullHash.MatchString(f[1]) || f[2] == "" {
				return "", nil, fmt.Errorf("unexpected line %q from pre-receive", line)
			}
			updates = append(updates, event.RefUpdate{Ref: f[2], Before: f[0], After: f[1]})
		}
	}
}

// quarantine returns the directory of the new objects, "" when git has not set
// one apart, as for a push that only deletes.
func quarantine(repo, objects string) string {
	if objects == "" {
		return ""
	}
	if !filepath.IsAbs(objects) {
		objects = filepath.Join(repo, objects)
	}
	if objects = filepath.Clean(objects); objects == filepath.Join(repo, "objects") {
		return ""
	}
	return objects
}
