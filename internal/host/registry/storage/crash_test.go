package storage_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/penstock-dev/penstock/internal/base/failpoint"
	"github.com/penstock-dev/penstock/internal/host/registry/storage"
)

const childEnv = "REGISTRY_TEST_DIR"

// TestMain lets this binary be the process that dies.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// step is something that a client does, and what must hold once it was
// acknowledged: "blob demo/shop sha256:…" and the like; with "!" before it, the
// opposite.
type step struct {
	do     func(s *storage.Store) error
	result []string
}

// steps push, move, release and delete things, and collect garbage.
func steps(now *time.Time) []step {
	ctx := context.Background()
	blob := func(repo, content string) step {
		d := digest.FromString(content)
		return step{func(s *storage.Store) error {
			return s.PutBlob(ctx, repo, d, -1, strings.NewReader(content))
		}, []string{"blob " + repo + " " + d.String()}}
	}
	manifest := func(repo, view, tag string, data []byte) step {
		d := digest.FromBytes(data).String()
		result := []string{"manifest " + repo + " " + d}
		if tag != "" && view == "" {
			result = append(result, "tag "+repo+":"+tag+" "+d)
		}
		return step{func(s *storage.Store) error {
			_, err := s.PutManifest(ctx, repo, storage.Put{MediaType: imageType, Data: data, Tag: tag, View: view})
			return err
		}, result}
	}
	one, two := image("config", "layer one"), image("config", "layer two")
	signature := image("config", "layer one", digest.FromBytes(one))
	layer := digest.FromString("layer one")
	chunked := digest.FromString("layer two")
	return []step{
		blob("demo/shop", "config"),
		blob("demo/shop", "layer one"),
		manifest("demo/shop", "", "v1", one),
		{func(s *storage.Store) error {
			id, err := s.StartUpload("demo/shop")
			if err != nil {
				return err
			}
			if _, err := s.Append(ctx, "demo/shop", id, storage.Chunk{Start: 0, Length: 5, Data: strings.NewReader("layer")}); err != nil {
				return err
			}
			return s.Finish(ctx, "demo/shop", id, storage.Chunk{Start: 5, Length: 4, Data: strings.NewReader(" two")}, chunked)
		}, []string{"blob demo/shop " + chunked.String()}},
		manifest("demo/shop", "", "v1", two), // the tag moves
		manifest("demo/shop", "", "", signature),
		{func(s *storage.Store) error { return s.Mount("demo/other", layer, "demo/shop") }, []string{"blob demo/other " + layer.String()}},
		blob("demo/other", "config"),
		manifest("demo/other", "run-7", "v1", one),
		{func(s *storage.Store) error { return s.Release("demo/other", "run-7") }, []string{"tag demo/other:v1 " + digest.FromBytes(one).String()}},
		manifest("demo/other", "", "v2", one),
		{func(s *storage.Store) error { return s.DeleteTag("demo/other", "", "v2") }, []string{"!tag demo/other:v2 " + digest.FromBytes(one).String()}},
		{func(s *storage.Store) error { return s.DeleteManifest("demo/other", digest.FromBytes(one)) },
			[]string{"!manifest demo/other " + digest.FromBytes(one).String(), "!tag demo/other:v1 " + digest.FromBytes(one).String()}},
		{func(s *storage.Store) error { return s.DeleteBlob("demo/other", layer) }, []string{"!blob demo/other " + layer.String()}},
		blob("demo/other", "nothing names this"),
		{func(s *storage.Store) error {
			*now = now.Add(48 * time.Hour)
			_, err := s.Collect(ctx)
			return err
		}, []string{"!blob demo/other " + digest.FromString("nothing names this").String(), "!blob demo/other " + digest.FromString("config").String()}},
	}
}

func child(dir string) error {
	now := time.Now()
	s, err := storage.Open(dir, storage.Options{Now: func() time.Time { return now }})
	if err != nil {
		return err
	}
	for i, st := range steps(&now) {
		if err := st.do(s); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
		fmt.Println(i)
	}
	return nil
}

// points returns the failpoints of the registry, from their list.
func points(t *testing.T) []string {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "..", "base", "failpoint", "points.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []string
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if name, _, _ := strings.Cut(sc.Text(), "\t"); strings.HasPrefix(name, "registry.") {
			out = append(out, name)
		}
	}
	if len(out) < 10 {
		t.Fatalf("points: %v", out)
	}
	return out
}

// TestAKilledServerKeepsWhatItAcknowledged kills the process at every failpoint,
// each of the first times that it is passed, and shows that every tag resolves, with all
// that its manifest names, and that every step that was acknowledged holds.
func TestAKilledServerKeepsWhatItAcknowledged(t *testing.T) {
	for _, point := range points(t) {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			for n := 1; n <= 2; n++ {
				dir := t.TempDir()
				acknowledged, died := run(t, dir, fmt.Sprintf("%s:%d", point, n))
				if !died {
					if n == 1 {
						t.Fatal("the steps do not pass this point")
					}
					return
				}
				inspect(t, dir, acknowledged)
				// The next process goes on, and does all of it again.
				if _, died := run(t, dir, ""); died {
					t.Fatal("died without a failpoint")
				}
				inspect(t, dir, len(steps(new(time.Time))))
			}
		})
	}
}

// run lets a child do the steps and returns how many it acknowledged.
func run(t *testing.T, dir, point string) (acknowledged int, died bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir, failpoint.Env+"="+point)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL && ctx.Err() == nil:
		died = true
	default:
		t.Fatalf("the child ended with %v: %s", err, stderr.String())
	}
	return strings.Count(string(out), "\n"), died
}

// inspect checks a store that nobody has open, of whose steps so many were
// acknowledged.
func inspect(t *testing.T, dir string, acknowledged int) {
	t.Helper()
	s, err := storage.Open(dir, storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	wholeStore(t, s)
	all := steps(new(time.Time))
	undecided := map[string]bool{} // the step under way may have happened or not
	if acknowledged < len(all) {
		for _, r := range all[acknowledged].result {
			undecided[subject(r)] = true
		}
	}
	want := map[string]string{}
	for _, st := range all[:acknowledged] {
		for _, r := range st.result {
			want[subject(r)] = r
		}
	}
	for subject, r := range want {
		if undecided[subject] {
			continue
		}
		if got, no := holds(t, s, strings.TrimPrefix(r, "!")), strings.HasPrefix(r, "!"); got == no {
			t.Errorf("after %d steps: %s does not hold", acknowledged, r)
		}
	}
}

// subject is what a result is about: a tag, whatever it names.
func subject(result string) string {
	result = strings.TrimPrefix(result, "!")
	if strings.HasPrefix(result, "tag ") {
		return result[:strings.LastIndexByte(result, ' ')]
	}
	return result
}

func holds(t *testing.T, s *storage.Store, result string) bool {
	t.Helper()
	f := strings.Fields(result)
	d := digest.Digest(f[2])
	switch f[0] {
	case "blob":
		_, err := s.HasBlob(f[1], d)
		return err == nil
	case "manifest":
		_, err := s.GetManifest(f[1], d)
		return err == nil
	}
	repo, tag, _ := strings.Cut(f[1], ":")
	got, err := s.Resolve(repo, "", tag)
	return err == nil && got == d
}
