package storage_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/penstock-dev/penstock/internal/host/registry/storage"
)

const imageType = ocispec.MediaTypeImageManifest

// image is a manifest of a config and a layer with the contents.
func image(config, layer string, subject ...digest.Digest) []byte {
	desc := func(content string) ocispec.Descriptor {
		return ocispec.Descriptor{MediaType: "a/b", Digest: digest.FromString(content), Size: int64(len(content))}
	}
	m := ocispec.Manifest{MediaType: imageType, Config: desc(config), Layers: []ocispec.Descriptor{desc(layer)}}
	m.SchemaVersion = 2
	for _, s := range subject {
		m.Subject = &ocispec.Descriptor{MediaType: imageType, Digest: s, Size: 1}
	}
	b, err := json.Marshal(m)
	if err != nil {
		return nil
	}
	return b
}

// wholeStore checks what must hold at any time: every tag resolves to a
// manifest, every manifest has its blobs, and all content has its digest.
func wholeStore(t *testing.T, s *storage.Store) {
	t.Helper()
	repos, err := s.Repositories()
	if err != nil {
		t.Fatal(err)
	}
	for _, repo := range repos {
		for _, view := range []string{"", "run-7"} {
			tags, err := s.Tags(repo, view)
			if err != nil {
				t.Fatal(err)
			}
			for _, tag := range tags {
				d, err := s.Resolve(repo, view, tag)
				if err != nil {
					t.Errorf("%s:%s: %v", repo, tag, err)
					continue
				}
				m, err := s.GetManifest(repo, d)
				if err != nil || digest.FromBytes(m.Data) != d {
					t.Errorf("%s:%s: %v", repo, tag, err)
					continue
				}
				var im ocispec.Manifest
				if err := json.Unmarshal(m.Data, &im); err != nil {
					t.Errorf("%s:%s: %v", repo, tag, err)
				}
				for _, b := range append(im.Layers, im.Config) {
					f, err := s.OpenBlob(repo, b.Digest)
					if err != nil {
						t.Errorf("%s:%s: %v", repo, tag, err)
						continue
					}
					got, err := digest.FromReader(f)
					f.Close()
					if err != nil || got != b.Digest {
						t.Errorf("%s:%s: blob %s has digest %s, %v", repo, tag, b.Digest, got, err)
					}
				}
				if _, err := s.Referrers(repo, d); err != nil {
					t.Errorf("%s:%s: %v", repo, tag, err)
				}
			}
		}
	}
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	c.mu.Unlock()
}

func open(t *testing.T) (*storage.Store, *clock, string) {
	t.Helper()
	dir, c := t.TempDir(), &clock{now: time.Now()}
	s, err := storage.Open(dir, storage.Options{Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	return s, c, dir
}

func put(t *testing.T, s *storage.Store, repo, content string) digest.Digest {
	t.Helper()
	d := digest.FromString(content)
	if err := s.PutBlob(t.Context(), repo, d, int64(len(content)), strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	return d
}

func files(t *testing.T, dir string) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestCollectKeepsWhatIsBeingPushed ages a push at each of its stages.
func TestCollectKeepsWhatIsBeingPushed(t *testing.T) {
	s, c, dir := open(t)
	ctx := t.Context()
	collect := func(want storage.Collected) {
		t.Helper()
		got, err := s.Collect(ctx)
		if err != nil || got != want {
			t.Errorf("collected %+v, %v; want %+v", got, err, want)
		}
	}
	put(t, s, "demo/shop", "config")
	layer := put(t, s, "demo/shop", "layer")
	id, err := s.StartUpload("demo/shop")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(ctx, "demo/shop", id, storage.Chunk{Start: -1, Length: -1, Data: strings.NewReader("part")}); err != nil {
		t.Fatal(err)
	}
	c.add(23 * time.Hour)
	collect(storage.Collected{})
	// The client asks whether the blobs are there, and pushes the manifest the
	// next day.
	for _, d := range []digest.Digest{layer, digest.FromString("config")} {
		if _, err := s.HasBlob("demo/shop", d); err != nil {
			t.Fatal(err)
		}
	}
	c.add(20 * time.Hour)
	collect(storage.Collected{Uploads: 1})
	if _, err := s.UploadSize(ctx, "demo/shop", id); !errors.Is(err, storage.ErrUploadUnknown) {
		t.Errorf("the upload: %v", err)
	}
	if _, err := s.PutManifest(ctx, "demo/shop", storage.Put{MediaType: imageType, Data: image("config", "layer"), Tag: "v1"}); err != nil {
		t.Fatal(err)
	}
	// What a manifest names stays for ever, and so does the manifest.
	c.add(1000 * time.Hour)
	collect(storage.Collected{})
	if err := s.DeleteTag("demo/shop", "", "v1"); err != nil {
		t.Fatal(err)
	}
	collect(storage.Collected{})
	wholeStore(t, s)
	// What nothing names any more goes.
	m := image("config", "layer")
	if err := s.DeleteManifest("demo/shop", digest.FromBytes(m)); err != nil {
		t.Fatal(err)
	}
	collect(storage.Collected{Links: 2, Content: 3, Bytes: int64(len(m) + len("config") + len("layer"))})
	if n := files(t, filepath.Join(dir, "blobs")); n != 0 {
		t.Errorf("%d files are left", n)
	}
	collect(storage.Collected{})
}

// TestCollectKeepsWhatOthersHave mounts a blob that its first repository
// loses.
func TestCollectKeepsWhatOthersHave(t *testing.T) {
	s, c, _ := open(t)
	d := put(t, s, "demo/shop", "shared")
	c.add(23 * time.Hour)
	if err := s.Mount("demo/other", d, "demo/shop"); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteBlob("demo/shop", d); err != nil {
		t.Fatal(err)
	}
	c.add(2 * time.Hour)
	if got, err := s.Collect(t.Context()); err != nil || got != (storage.Collected{}) {
		t.Errorf("collected %+v, %v", got, err)
	}
	if _, err := s.HasBlob("demo/other", d); err != nil {
		t.Error(err)
	}
}

// TestCollectLeavesNothingHalfWritten plants what a crash leaves.
func TestCollectLeavesNothingHalfWritten(t *testing.T) {
	s, c, dir := open(t)
	put(t, s, "demo/shop", "config")
	for _, name := range []string{"uploads/.manifest-1", "repos/demo/shop/_blobs/.x.1.tmp"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "uploads", "0123456789abcdef0123"), 0o700); err != nil {
		t.Fatal(err)
	}
	c.add(48 * time.Hour)
	got, err := s.Collect(t.Context())
	if err != nil || got.Uploads != 1 {
		t.Errorf("collected %+v, %v", got, err)
	}
	if n := files(t, dir); n != 0 {
		t.Errorf("%d files are left", n)
	}
}

// TestCollectBesidePushes lets clients push, delete and mount the same content
// while garbage without any grace is collected all the time: a push must
// succeed or say that its content has gone, and what it got in stays whole.
func TestCollectBesidePushes(t *testing.T) {
	later := func() time.Time { return time.Now().Add(time.Minute) }
	s, err := storage.Open(t.TempDir(), storage.Options{Now: later, Grace: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var collector, clients sync.WaitGroup
	collector.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := s.Collect(context.Background()); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for i := range 4 {
		clients.Go(func() {
			for n := range 40 {
				if err := pushOnce(s, fmt.Sprint("demo/r", i%2), fmt.Sprint("layer ", n%5), fmt.Sprint("v", i)); err != nil {
					t.Error(err)
					return
				}
				if n%7 == 6 {
					err := s.DeleteManifest(fmt.Sprint("demo/r", i%2), digest.FromBytes(image("config", fmt.Sprint("layer ", n%5))))
					if err != nil && !errors.Is(err, storage.ErrManifestUnknown) {
						t.Error(err)
					}
				}
			}
		})
	}
	clients.Wait()
	close(stop)
	collector.Wait()
	wholeStore(t, s)
}

// pushOnce pushes an image, again when its blobs have gone meanwhile.
func pushOnce(s *storage.Store, repo, layer, tag string) error {
	for range 1000 {
		for _, content := range []string{"config", layer} {
			if err := s.PutBlob(context.Background(), repo, digest.FromString(content), -1, strings.NewReader(content)); err != nil {
				return err
			}
		}
		_, err := s.PutManifest(context.Background(), repo, storage.Put{MediaType: imageType, Data: image("config", layer), Tag: tag})
		if _, missing := errors.AsType[*storage.MissingError](err); !missing {
			return err
		}
	}
	return errors.New("a push did not get in between collections")
}

// TestAnUploadSurvivesARestart goes on with an upload in another process.
func TestAnUploadSurvivesARestart(t *testing.T) {
	s, _, dir := open(t)
	ctx := t.Context()
	id, err := s.StartUpload("demo/shop")
	if err != nil {
		t.Fatal(err)
	}
	broken := io.MultiReader(strings.NewReader("first half, "), errReader{})
	if size, err := s.Append(ctx, "demo/shop", id, storage.Chunk{Start: 0, Length: 100, Data: broken}); size != 12 || !errors.Is(err, storage.ErrBroken) {
		t.Fatalf("%d bytes, %v", size, err)
	}
	again, err := storage.Open(dir, storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if size, err := again.UploadSize(ctx, "demo/shop", id); size != 12 || err != nil {
		t.Fatalf("%d bytes, %v", size, err)
	}
	d := digest.FromString("first half, second half")
	if err := again.Finish(ctx, "demo/shop", id, storage.Chunk{Start: 12, Length: 11, Data: strings.NewReader("second half")}, d); err != nil {
		t.Fatal(err)
	}
	f, err := again.OpenBlob("demo/shop", d)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, err := io.ReadAll(f); !bytes.Equal(b, []byte("first half, second half")) || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestViews shows tags that only some see until they are released.
func TestViews(t *testing.T) {
	s, _, _ := open(t)
	put(t, s, "demo/shop", "config")
	put(t, s, "demo/shop", "old")
	put(t, s, "demo/shop", "new")
	old, fresh := digest.FromBytes(image("config", "old")), digest.FromBytes(image("config", "new"))
	for _, p := range []storage.Put{{Data: image("config", "old"), Tag: "latest"}, {Data: image("config", "new"), Tag: "latest", View: "run-7"}} {
		p.MediaType = imageType
		if _, err := s.PutManifest(t.Context(), "demo/shop", p); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when, view string, want digest.Digest) {
		t.Helper()
		if got, err := s.Resolve("demo/shop", view, "latest"); got != want || err != nil {
			t.Errorf("%s: view %q sees %s, %v", when, view, got, err)
		}
	}
	check("held", "", old)
	check("held", "run-8", old)
	check("held", "run-7", fresh)
	if err := s.Discard("demo/shop", "run-8"); err != nil {
		t.Fatal(err)
	}
	check("another ended", "run-7", fresh)
	if err := s.Release("demo/shop", "run-7"); err != nil {
		t.Fatal(err)
	}
	check("released", "", fresh)
	check("released", "run-7", fresh)
	if err := s.Release("demo/shop", "../.."); err == nil {
		t.Error("a view of that name")
	}
}
