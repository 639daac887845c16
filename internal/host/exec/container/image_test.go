//go:build linux

package container_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/exec"
	. "github.com/penstock-dev/penstock/internal/host/exec/exectest"
	"github.com/penstock-dev/penstock/internal/host/exec/forward"
	"github.com/penstock-dev/penstock/internal/host/image/imagetest"
)

// over is the busybox image with more layers and another configuration.
func over(t *testing.T, config v1.Config, layers ...*imagetest.Layer) v1.Image {
	t.Helper()
	base := imagetest.NeedBusybox(t)
	more, err := imagetest.New(v1.Config{}, layers...)
	if err != nil {
		t.Fatal(err)
	}
	list, err := more.Layers()
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(base, list...)
	if err == nil {
		img, err = mutate.Config(img, config)
	}
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func of(ref string) func(*exec.SessionSpec) {
	return func(s *exec.SessionSpec) { s.Image = ref }
}

func TestLayers(t *testing.T) {
	r, _ := newRuntimes(t)
	var one, two, three imagetest.Layer
	one.Dir("data", 0o750)
	one.File("data/a", 0o644, "a1\n")
	one.File("data/gone", 0o644, "g\n")
	one.Dir("old", 0o755)
	one.File("old/x", 0o644, "x\n")
	two.File("data/a", 0o644, "a2\n") // without naming the directory
	two.File("data/.wh.gone", 0o644, "")
	two.File("tmp/from-image", 0o644, "t\n")
	three.Dir("old", 0o755)
	three.File("old/.wh..wh..opq", 0o644, "")
	three.File("old/y", 0o644, "y\n")
	ref := imagetest.Layout(t, over(t, v1.Config{}, &one, &two, &three))
	s := Open(t, r, of(ref))
	if got := Must(t, s, "cat /data/a /tmp/from-image; ls /data /old; stat -c %a /data /tmp"); got != "a2\nt\n/data:\na\n\n/old:\ny\n750\n1777\n" {
		t.Errorf("got %q", got)
	}
	// What a session writes is its own.
	Must(t, s, "echo changed > /data/a; rm /old/y; rm -r /bin/vi; echo new > /etc/new; chmod 700 /tmp")
	other := Open(t, r, of(ref))
	if got := Must(t, other, "cat /data/a; ls /old /bin/vi; stat -c %a /tmp; [ ! -e /etc/new ]"); got != "a2\n/bin/vi\n\n/old:\ny\n1777\n" {
		t.Errorf("another session sees %q", got)
	}
}

func TestImageConfig(t *testing.T) {
	r, _ := newRuntimes(t)
	config := v1.Config{
		Env: []string{"PATH=/opt/bin:/bin", "GREETING=hello world", "HOME=/data"}, Entrypoint: []string{"/bin/sh", "-c"}, Cmd: []string{"echo $GREETING from $PWD"},
		WorkingDir: "/srv/app", User: "user", StopSignal: "SIGQUIT", Labels: map[string]string{"a": "b"},
		ExposedPorts: map[string]struct{}{"8080/tcp": {}, "53/udp": {}},
		Healthcheck:  &v1.HealthConfig{Test: []string{"CMD-SHELL", "true"}, Interval: time.Second, Retries: 3},
	}
	ref := imagetest.Layout(t, over(t, config))
	s := Open(t, r, of(ref))
	img, ok := s.(exec.Imaged)
	if !ok {
		t.Fatalf("%T does not tell its image", s)
	}
	got := img.Image()
	if !strings.HasPrefix(got.Digest, "sha256:") {
		t.Errorf("digest %q", got.Digest)
	}
	got.Digest = ""
	want := exec.ImageConfig{
		Ref: ref, Entrypoint: config.Entrypoint, Cmd: config.Cmd, WorkingDir: "/srv/app", Ports: []string{"53/udp", "8080/tcp"},
		Health: &exec.HealthCheck{Test: []string{"/bin/sh", "-c", "true"}, Interval: time.Second, Retries: 3}, StopSignal: "SIGQUIT", Labels: config.Labels,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	env := strings.Join(s.Env(), "\n")
	for _, kv := range append(config.Env, "USER=user", "LOGNAME=user") {
		if !strings.Contains(env, kv) {
			t.Errorf("%s is not in the environment:\n%s", kv, env)
		}
	}
	cmd := got.Command()
	var out bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = s.Env(), &out, &out
	if code, err := s.Run(t.Context(), cmd); code != 0 || err != nil || out.String() != "hello world from /srv/app\n" {
		t.Errorf("the image's own command: %q, %d, %v", out.String(), code, err)
	}
	if d := cmp.Diff([]string{"/bin/sh", "-c", "id"}, got.Command("id").Args); d != "" {
		t.Error(d)
	}
}

func TestUser(t *testing.T) {
	r, _ := newRuntimes(t)
	var l imagetest.Layer
	l.File("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\nfar:x:65535:65535::/:/bin/sh\nout:x:70000:70000::/:/bin/sh\n")
	l.File("etc/group", 0o644, "root:x:0:\nusers:x:100:user,other\nuser:x:1000:\nwheel:x:10:user\n")
	for who, want := range map[string]string{
		"":          "0 0 0 /root",
		"user":      "1000 1000 1000 10 100 /home/user",
		"1000":      "1000 1000 1000 10 100 /home/user",
		"user:root": "1000 0 0 /home/user",
		"user:55":   "1000 55 55 /home/user",
		"1234":      "1234 0 0 /",
		"1234:5":    "1234 5 5 /",
		"far":       "65535 65535 65535 /",
	} {
		s, ws := OpenIn(t, r, of(imagetest.Layout(t, over(t, v1.Config{User: who}, &l))))
		if got := strings.TrimSpace(Must(t, s, `echo $(id -u) $(id -g) $(id -G) $HOME`)); got != want {
			t.Errorf("user %q is %q, want %q", who, got, want)
		}
		// The workspace is the user's, and what is made there the owner's.
		Must(t, s, "echo x > made; [ $(stat -c %u made) = $(id -u) ]; echo o > /dev/stderr")
		if got, want := Owner(t, ws+"/made"), Owner(t, ws); got != want {
			t.Errorf("user %q: what it makes belongs to %s, want %s", who, got, want)
		}
		if who == "user" {
			if out, code := Sh(t, s, "cat /etc/shadow /root/x 2>/dev/null || echo > /etc/new || chown 0 made"); code == 0 {
				t.Errorf("the user is more than that: %s", out)
			}
		}
	}
	for _, who := range []string{"nobody-knows", "user:nobody-knows", "out", "70000", "-1", "0:70000"} {
		_, err := r.Open(t.Context(), exec.SessionSpec{ID: ID(), Workspace: t.TempDir(), Image: imagetest.Layout(t, over(t, v1.Config{User: who}, &l))})
		var p *problem.Error
		if !errors.As(err, &p) || p.Hint == "" {
			t.Errorf("user %q: %v", who, err)
		}
	}
}

func TestNoImage(t *testing.T) {
	_, boxes := newRuntimes(t)
	_, err := boxes.Open(t.Context(), exec.SessionSpec{ID: ID(), Workspace: t.TempDir(), Image: "busybox"})
	var p *problem.Error
	if !errors.Is(err, problem.ErrInvalid) || !errors.As(err, &p) || p.Hint == "" {
		t.Errorf("a sandbox takes an image: %v", err)
	}
}

// A job in a sandbox with services in containers, as workflows have them.
func TestServices(t *testing.T) {
	r, boxes := newRuntimes(t)
	t.Run("private network", func(t *testing.T) { PrivateNetwork(t, r, boxes) })
	config := v1.Config{
		Entrypoint: []string{"/bin/httpd", "-f", "-p", "80"}, Cmd: []string{"-h", "/www"}, ExposedPorts: map[string]struct{}{"80/tcp": {}},
		Healthcheck: &v1.HealthConfig{Test: []string{"CMD", "wget", "-q", "-O", "-", "http://127.0.0.1/"}},
	}
	var l imagetest.Layer
	l.Dir("www", 0o755)
	l.File("www/index.html", 0o644, "the service\n")
	ref := imagetest.Layout(t, over(t, config, &l))
	network := ID()
	job := Networked(t, Open(t, boxes, func(s *exec.SessionSpec) { s.Network, s.Names = network, []string{"job"} }))
	published := forward.New(slog.New(slog.DiscardHandler))
	t.Cleanup(published.Close)
	// Two of the same image, on the same port.
	for _, name := range []string{"web", "cache"} {
		s := Networked(t, Open(t, r, of(ref), func(s *exec.SessionSpec) { s.Network, s.Names = network, []string{name} }))
		img := s.(exec.Imaged).Image()
		cmd := img.Command()
		cmd.Env = s.Env()
		service := exec.Start(t.Context(), s, cmd)
		healthy(t, s, img.Health, service)
		if got := Must(t, job, "busybox wget -q -O - http://"+name+"/"); got != "the service\n" {
			t.Errorf("%s says %q", name, got)
		}
		// A port that is published is on the job's own loopback.
		l, err := job.Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		published.TCPTo(l, func(ctx context.Context) (net.Conn, error) { return s.Dial(ctx, "tcp", "127.0.0.1:80") })
		if got := Must(t, job, "busybox wget -q -O - http://"+l.Addr().String()+"/"); got != "the service\n" {
			t.Errorf("%s says %q on its published port", name, got)
		}
	}
	if got, _ := Sh(t, job, "busybox wget -q -O - http://localhost/ 2>&1"); strings.Contains(got, "the service") {
		t.Error("a service is on the job's own loopback without having been published")
	}
}

// healthy waits until the service's own check says that it is ready.
func healthy(t *testing.T, s exec.Session, h *exec.HealthCheck, service *exec.Running) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	for {
		var out bytes.Buffer
		code, err := s.Run(ctx, exec.Command{Args: h.Test, Env: s.Env(), Stdout: &out, Stderr: &out})
		if err == nil && code == 0 {
			return
		}
		select {
		case <-service.Done():
			code, err := service.Wait()
			t.Fatalf("the service has ended: %d, %v", code, err)
		case <-ctx.Done():
			t.Fatalf("the service is not ready: %d, %v, %s", code, err, out.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
}
