package git

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// program is the git command of this machine and how it is to behave.
type program struct {
	path    string   // git
	backend string   // git's http-backend
	env     []string // the whole environment; nothing of ours is inherited
}

// Version 2.31 brought configuration by environment, 2.36 core.fsync.
const (
	oldestMajor, oldestMinor = 2, 31
	fsyncMinor               = 36 // older ones are told less finely
)

// findGit looks for git, checks that it is new enough and fixes its
// configuration. What users push never becomes configuration or a hook.
func findGit(ctx context.Context, home string, maxPush int64) (program, error) {
	fail := func(err error) (program, error) {
		return program{}, &problem.Error{Op: "use git", Err: err, Hint: "apt-get install git"}
	}
	path, err := exec.LookPath("git")
	if err != nil {
		return fail(err)
	}
	if path, err = filepath.Abs(path); err != nil {
		return fail(err)
	}
	p := program{path: path, env: []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "LC_ALL=C",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_SYSTEM=" + os.DevNull, "GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_ATTR_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0", "GIT_OPTIONAL_LOCKS=0", "GIT_NO_REPLACE_OBJECTS=1",
	}}
	out, err := p.output(ctx, "", 1<<10, nil, "version")
	if err != nil {
		return fail(err)
	}
	major, minor := parseVersion(string(out))
	if major < oldestMajor || major == oldestMajor && minor < oldestMinor {
		return fail(fmt.Errorf("%s is older than %d.%d", strings.TrimSpace(string(out)), oldestMajor, oldestMinor))
	}
	if out, err = p.output(ctx, "", 4<<10, nil, "--exec-path"); err != nil {
		return fail(err)
	}
	p.backend = filepath.Join(strings.TrimSpace(string(out)), "git-http-backend")
	if _, err := os.Stat(p.backend); err != nil {
		return fail(err)
	}
	p.env = append(p.env, config(minor >= fsyncMinor || major > oldestMajor, maxPush)...)
	return p, nil
}

// config is git's configuration for everything that is done to hosted
// repositories, in the form of environment variables, which count above what
// a repository's own file says.
func config(fsync bool, maxPush int64) []string {
	pairs := [][2]string{
		{"safe.directory", "*"}, // the directory is ours whoever owns it
		{"core.hooksPath", os.DevNull},
		{"core.logAllRefUpdates", "always"}, // who moved a ref, and a way back
		{"http.receivepack", "true"},        // we have authorised the request
		{"http.uploadpack", "true"},
		{"http.getanyfile", "false"},
		{"transfer.hideRefs", "refs/penstock"},
		// Jobs fetch the commit they were started for by its name, also when a
		// later push has made it unreachable.
		{"uploadpack.allowAnySHA1InWant", "true"},
		// Partial clones, without the filters that make the server search.
		{"uploadpack.allowFilter", "true"},
		{"uploadpackfilter.allow", "false"},
		{"uploadpackfilter.blob:none.allow", "true"},
		{"uploadpackfilter.blob:limit.allow", "true"},
		{"uploadpackfilter.tree.allow", "true"},
		{"uploadpackfilter.tree.maxTreeDepth", "16"},
		{"receive.fsckObjects", "true"},
		// Flaws of old histories that harm nobody; the large hosts take them.
		{"receive.fsck.badTimezone", "ignore"},
		{"receive.fsck.missingSpaceBeforeDate", "ignore"},
		{"receive.fsck.zeroPaddedFilemode", "ignore"},
		{"receive.fsck.hasDot", "error"}, // names that no checkout can have
		{"receive.fsck.hasDotdot", "error"},
		{"receive.fsck.hasDotgit", "error"},
		{"receive.fsck.fullPathname", "error"},
		{"receive.maxInputSize", strconv.FormatInt(maxPush, 10)},
		// One pack per push: one file to make durable instead of one per object.
		{"receive.unpackLimit", "1"},
		{"receive.autogc", "false"}, // see maintain
		{"gc.auto", "0"},
		{"pack.threads", "2"},
		{"pack.windowMemory", "128m"},
		// What is larger is streamed instead of held in memory.
		{"core.bigFileThreshold", "64m"},
	}
	if fsync {
		pairs = append(pairs, [2]string{"core.fsync", "all,-reference"}) // for refs see syncRefs
	} else {
		pairs = append(pairs, [2]string{"core.fsyncObjectFiles", "true"})
	}
	env := []string{"GIT_CONFIG_COUNT=" + strconv.Itoa(len(pairs))}
	for i, p := range pairs {
		n := strconv.Itoa(i)
		env = append(env, "GIT_CONFIG_KEY_"+n+"="+p[0], "GIT_CONFIG_VALUE_"+n+"="+p[1])
	}
	return env
}

// parseVersion reads "git version 2.39.5 (any words)"; 0, 0 when it cannot.
func parseVersion(s string) (major, minor int) {
	f := strings.Fields(s)
	if len(f) < 3 {
		return 0, 0
	}
	v := strings.SplitN(f[2], ".", 3)
	if len(v) < 2 {
		return 0, 0
	}
	major, err := strconv.Atoi(v[0])
	minor, err2 := strconv.Atoi(v[1])
	if err != nil || err2 != nil {
		return 0, 0
	}
	return major, minor
}

// command prepares git with args in dir. It ends, with all it has started,
// when ctx does.
func (p program) command(ctx context.Context, dir string, args ...string) *exec.Cmd {
	return p.prepare(exec.CommandContext(ctx, p.path, args...), dir)
}

func (p program) prepare(cmd *exec.Cmd, dir string) *exec.Cmd {
	cmd.Dir = dir
	cmd.Env = p.env
	ownGroup(cmd)
	cmd.Cancel = func() error { return stopGroup(cmd) }
	cmd.WaitDelay = 10 * time.Second
	limitMemory(cmd)
	return cmd
}

// configure adds configuration to that of [config]. What comes later counts.
func configure(env []string, pairs ...[2]string) []string {
	out := make([]string, 0, len(env)+2*len(pairs))
	n := 0
	for _, kv := range env {
		if count, ok := strings.CutPrefix(kv, "GIT_CONFIG_COUNT="); ok {
			n, _ = strconv.Atoi(count) // we wrote it
			continue
		}
		out = append(out, kv)
	}
	for _, p := range pairs {
		out = append(out, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", n, p[0]), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", n, p[1]))
		n++
	}
	return append(out, "GIT_CONFIG_COUNT="+strconv.Itoa(n))
}

// errTooLarge says that there is more than is taken. It will be so next time.
var errTooLarge = fmt.Errorf("too large: %w", problem.ErrInvalid)

// output runs git in dir and returns what it prints, at most limit bytes: with
// [errTooLarge] its beginning. The error carries the last line git said about
// it.
func (p program) output(ctx context.Context, dir string, limit int64, in io.Reader, args ...string) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := p.command(ctx, dir, args...)
	cmd.Stdin = in
	var out bytes.Buffer
	said := &head{max: 4 << 10}
	over := false
	cmd.Stdout = writerFunc(func(b []byte) (int, error) {
		if int64(out.Len()+len(b)) > limit {
			out.Write(b[:limit-int64(out.Len())])
			over = true
			cancel()
			return 0, errTooLarge
		}
		return out.Write(b)
	})
	cmd.Stderr = said
	err := cmd.Run()
	switch {
	case over:
		return out.Bytes(), fmt.Errorf("git %s: %w: more than %d bytes", args[0], errTooLarge, limit)
	case ctx.Err() != nil:
		return nil, fmt.Errorf("git %s: %w", args[0], ctx.Err())
	case err != nil:
		return nil, fmt.Errorf("git %s: %w: %s", args[0], err, said.lastLine())
	}
	return out.Bytes(), nil
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// head keeps the first bytes written to it and drops the rest.
type head struct {
	b   []byte
	max int
}

func (h *head) Write(b []byte) (int, error) {
	h.b = append(h.b, b[:min(len(b), h.max-len(h.b))]...)
	return len(b), nil
}

func (h *head) lastLine() string {
	s := strings.TrimSpace(string(h.b))
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// lines runs git in dir and gives what it prints to fn, line by line. An error
// of fn ends it.
func (p program) lines(ctx context.Context, dir string, in io.Reader, fn func(line string) error, args ...string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := p.command(ctx, dir, args...)
	cmd.Stdin = in
	said := &head{max: 4 << 10}
	cmd.Stderr = said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("git %s: %w", args[0], err)
	}
	scan := bufio.NewScanner(out)
	scan.Buffer(nil, 64<<10)
	var fnErr error
	for fnErr == nil && scan.Scan() {
		fnErr = fn(scan.Text())
	}
	if fnErr == nil {
		fnErr = scan.Err()
	}
	if fnErr != nil {
		cancel()
		_ = cmd.Wait() // it was killed
		return fnErr
	}
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("git %s: %w", args[0], ctx.Err())
	case err != nil:
		return fmt.Errorf("git %s: %w: %s", args[0], err, said.lastLine())
	}
	return nil
}
