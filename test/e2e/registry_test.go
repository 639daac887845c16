//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	corev1 "k8s.io/api/core/v1"
)

// TestE2ERegistry pulls what was pushed, into Pods and builds, also by the
// names of other registries, and kills the server in the middle of a push.
func TestE2ERegistry(t *testing.T) {
	p := NewPlatform(t)
	p.Up(t)
	f := &faults{Platform: p}
	dir := t.TempDir()
	box, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		os.WriteFile(filepath.Join(dir, "busybox"), box, 0o755),
		os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\nCOPY busybox /bin/busybox\nENTRYPOINT [\"/bin/busybox\", \"sh\", \"-c\", \"busybox echo hosted; exec busybox sleep 3600\"]\n"), 0o644),
	); err != nil {
		t.Fatal(err)
	}
	const image = "penstock.localhost:7080/library/box"
	out := p.Run(t, "build", "--tag", image+":1", dir)
	_, digest, _ := strings.Cut(strings.TrimSpace(out), "@")
	head, err := remote.Head(p.image(t, "library/box:1"), p.registry(t)...)
	if err != nil || head.Digest.String() != digest {
		t.Fatalf("the registry has %+v, %v; built was %s", head, err, digest)
	}

	// The node has lost it, and gets it back.
	p.Run(t, "image", "remove", image+":1")
	f.pullingPod(t, "by-digest", image+"@"+digest)
	f.wantLog(t, "by-digest", "hosted\n")
	// Somebody else's file names another registry.
	p.Run(t, "image", "alias", "docker.io/library/busybox", "library/box")
	f.pullingPod(t, "by-alias", "busybox:1")
	f.wantLog(t, "by-alias", "hosted\n")
	write(t, dir, "Dockerfile", "FROM busybox:1\nRUN [\"/bin/busybox\", \"touch\", \"/built\"]\n")
	p.Run(t, "build", "--tag", "penstock.localhost:7080/test/child:1", dir)

	t.Run("the server is killed during a push", func(t *testing.T) {
		img, err := random.Image(8<<20, 8)
		if err != nil {
			t.Fatal(err)
		}
		pid := p.PID(t, "server")
		pushed := make(chan error, 1)
		go func() {
			opts := append(p.registry(t), remote.WithRetryBackoff(remote.Backoff{Duration: 200 * time.Millisecond, Factor: 1.5, Steps: 12}),
				remote.WithRetryPredicate(broke), remote.WithJobs(2))
			pushed <- remote.Write(p.image(t, "test/large:1"), img, opts...)
		}()
		blobs := filepath.Join(p.DataDir, "registry", "repos", "test", "large", "_blobs", "sha256", "*")
		Eventually(t, time.Minute, "first blobs of the push", func(context.Context) error {
			if list, _ := filepath.Glob(blobs); len(list) == 0 {
				return errors.New("none yet")
			}
			return nil
		})
		kill(t, pid)
		if err := <-pushed; err != nil {
			t.Fatalf("push: %v", err)
		}
		f.awaitReady(t)
		want, err := img.Digest()
		if err != nil {
			t.Fatal(err)
		}
		back, err := remote.Image(p.image(t, "test/large:1"), p.registry(t)...)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Image(back); err != nil { // reads every layer
			t.Error(err)
		}
		if got, err := back.Digest(); err != nil || got != want {
			t.Errorf("pulled %s, %v; pushed %s", got, err, want)
		}
	})
}

// broke says that a connection ended, or could not begin, because the server
// was killed.
func broke(err error) bool {
	for _, is := range []error{syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed} {
		if errors.Is(err, is) {
			return true
		}
	}
	return err != nil && strings.Contains(err.Error(), "server closed idle connection")
}

// image names an image of the registry, where this machine finds it.
func (p *Platform) image(t *testing.T, text string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference("penstock.localhost:7080/"+text, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// registry are the options of a client with the administrator's token.
func (p *Platform) registry(t *testing.T) []remote.Option {
	t.Helper()
	token, err := os.ReadFile(filepath.Join(p.DataDir, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, "127.0.0.1:7080")
	}}
	return []remote.Option{remote.WithAuth(&authn.Basic{Username: "admin", Password: strings.TrimSpace(string(token))}), remote.WithTransport(transport)}
}

// pullingPod creates a Pod whose image the node has to pull.
func (f *faults) pullingPod(t *testing.T, name, image string) {
	t.Helper()
	zero := int64(0)
	pod := corev1.Pod{Spec: corev1.PodSpec{TerminationGracePeriodSeconds: &zero, Containers: []corev1.Container{{Name: "c", Image: image, ImagePullPolicy: corev1.PullAlways}}}}
	pod.APIVersion, pod.Kind, pod.Name = "v1", "Pod", name
	b, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	Eventually(t, time.Minute, "create Pod "+name, func(ctx context.Context) error {
		return f.kube(t).Post().AbsPath("/api/v1/namespaces/default/pods").Body(b).Do(ctx).Error()
	})
}
