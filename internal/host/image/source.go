package image

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/match"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

// Prefixes of references that are not names in a registry.
const (
	prefixLayout  = "oci:"
	prefixArchive = "docker-archive:"
)

// Mirror is a registry that is asked before the one that a reference names:
// this machine's own, which knows aliases and what it has fetched before. It is
// told the other's name as containerd tells it, in the query "ns".
type Mirror struct {
	URL   string // "http://penstock.localhost:7080"
	Token string // sent as a bearer's, if there is one
}

// Sources is where references lead. The zero value asks registries as Docker
// would, with the credentials of this user's Docker configuration.
type Sources struct {
	Mirrors  []Mirror
	Keychain authn.Keychain
	// Dial connects to registries; default is the machine's network, where
	// names below .localhost are the machine itself.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Platform is what is looked for, default this machine's on Linux.
	Platform *v1.Platform
	Log      *slog.Logger
}

// found is an image whose manifest is known. Layers are fetched as they are
// read.
type found struct {
	image v1.Image
	top   v1.Hash // what the reference names, which may be an index
}

// Credentials for one registry; the zero value means those of the keychain.
type Credentials struct{ Username, Password string }

func (s *Sources) platform() v1.Platform {
	if s.Platform != nil {
		return *s.Platform
	}
	return v1.Platform{OS: "linux", Architecture: runtime.GOARCH}
}

func (s *Sources) log() *slog.Logger {
	if s.Log != nil {
		return s.Log
	}
	return slog.New(slog.DiscardHandler)
}

// Image finds the image of a reference.
func (s *Sources) Image(ctx context.Context, ref string, c Credentials) (v1.Image, error) {
	f, err := s.find(ctx, ref, c, nil)
	if err != nil {
		return nil, explain(ref, err)
	}
	return f.image, nil
}

// find finds the image of a reference. When known says yes to the digest that
// the reference has now, the image is nil.
func (s *Sources) find(ctx context.Context, ref string, c Credentials, known func(v1.Hash) bool) (found, error) {
	if rest, ok := strings.CutPrefix(ref, prefixLayout); ok {
		return s.fromLayout(rest)
	}
	if rest, ok := strings.CutPrefix(ref, prefixArchive); ok {
		return fromArchive(rest)
	}
	n, err := name.ParseReference(ref)
	if err != nil {
		return found{}, fmt.Errorf("%w: %w", problem.ErrInvalid, err)
	}
	return s.fromRegistries(ctx, n, c, known)
}

// fromRegistries asks the mirrors, then the registry itself.
func (s *Sources) fromRegistries(ctx context.Context, ref name.Reference, c Credentials, known func(v1.Hash) bool) (found, error) {
	base := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: s.dial(), ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: time.Minute, IdleConnTimeout: 10 * time.Second, MaxIdleConnsPerHost: 4,
	}
	var errs []error
	for _, m := range s.Mirrors {
		mirrored, rt, err := m.of(ref, base)
		if err != nil {
			return found{}, err
		}
		f, err := s.ask(ctx, mirrored, known, remote.WithTransport(rt), remote.WithAuth(authn.Anonymous))
		if err == nil || ctx.Err() != nil {
			return f, err
		}
		s.log().Debug("mirror has no image", "mirror", m.URL, "image", ref, "error", err)
		if !missing(err) {
			errs = append(errs, fmt.Errorf("ask %s: %w", m.URL, err))
		}
	}
	auth := remote.WithAuthFromKeychain(s.keychain())
	if c != (Credentials{}) {
		auth = remote.WithAuth(&authn.Basic{Username: c.Username, Password: c.Password})
	}
	f, err := s.ask(ctx, ref, known, remote.WithTransport(base), auth)
	if err != nil {
		return found{}, errors.Join(append(errs, err)...)
	}
	return f, nil
}

func (s *Sources) ask(ctx context.Context, ref name.Reference, known func(v1.Hash) bool, options ...remote.Option) (found, error) {
	options = append(options, remote.WithContext(ctx), remote.WithPlatform(s.platform()), remote.WithUserAgent("penstock"),
		remote.WithRetryBackoff(remote.Backoff{Duration: 200 * time.Millisecond, Factor: 3, Jitter: 0.1, Steps: 3}))
	if known != nil {
		head, err := remote.Head(ref, options...)
		switch {
		case err == nil && known(head.Digest):
			return found{top: head.Digest}, nil
		case err != nil && !answered(err):
			return found{}, err
		}
	}
	d, err := remote.Get(ref, options...)
	if err != nil {
		return found{}, err
	}
	img, err := d.Image()
	return found{image: img, top: d.Digest}, err
}

func (s *Sources) keychain() authn.Keychain {
	if s.Keychain != nil {
		return s.Keychain
	}
	return authn.DefaultKeychain
}

func (s *Sources) dial() func(ctx context.Context, network, addr string) (net.Conn, error) {
	if s.Dial != nil {
		return s.Dial
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if host, port, err := net.SplitHostPort(addr); err == nil && strings.HasSuffix(host, ".localhost") {
			addr = net.JoinHostPort("127.0.0.1", port)
		}
		d := net.Dialer{Timeout: 10 * time.Second}
		return d.DialContext(ctx, network, addr)
	}
}

// of is the reference as the mirror has it, and what carries requests there.
func (m Mirror) of(ref name.Reference, base http.RoundTripper) (name.Reference, http.RoundTripper, error) {
	u, err := url.Parse(m.URL)
	if err != nil || u.Host == "" {
		return nil, nil, fmt.Errorf("%w: mirror %q is not a URL", problem.ErrInvalid, m.URL)
	}
	var options []name.Option
	if u.Scheme == "http" {
		options = append(options, name.Insecure)
	}
	repo, err := name.NewRepository(u.Host+"/"+ref.Context().RepositoryStr(), options...)
	if err != nil {
		return nil, nil, err
	}
	var mirrored name.Reference = repo.Tag(ref.Identifier())
	if d, ok := ref.(name.Digest); ok {
		mirrored = repo.Digest(d.DigestStr())
	}
	ns := ref.Context().RegistryStr()
	if ns == name.DefaultRegistry {
		ns = "docker.io" // as everybody writes it
	}
	if ns == u.Host {
		ns = ""
	}
	return mirrored, atMirror{ns: ns, host: u.Host, token: m.Token, next: base}, nil
}

// atMirror tells a mirror whose images are meant, and who asks.
type atMirror struct {
	ns, host, token string
	next            http.RoundTripper
}

func (t atMirror) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != t.host || !strings.HasPrefix(r.URL.Path, "/v2/") {
		return t.next.RoundTrip(r) // where the mirror has sent us
	}
	r = r.Clone(r.Context())
	if t.token != "" {
		r.Header.Set("Authorization", "Bearer "+t.token)
	}
	if t.ns != "" && r.URL.Path != "/v2/" {
		q := r.URL.Query()
		q.Set("ns", t.ns)
		r.URL.RawQuery = q.Encode()
	}
	return t.next.RoundTrip(r)
}

// answered says whether the registry has understood us and said no. To HEAD,
// some say no in principle.
func answered(err error) bool {
	var e *transport.Error
	return errors.As(err, &e) && e.StatusCode/100 == 4 && e.StatusCode != http.StatusTooManyRequests
}

func missing(err error) bool {
	var e *transport.Error
	return errors.As(err, &e) && e.StatusCode == http.StatusNotFound
}

// fromLayout reads DIR or DIR:NAME.
func (s *Sources) fromLayout(where string) (found, error) {
	dir, ref := splitPath(where)
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return found{}, fmt.Errorf("open layout: %w", err)
	}
	wanted := match.Matcher(func(v1.Descriptor) bool { return true })
	if ref != "" {
		wanted = match.Annotation("org.opencontainers.image.ref.name", ref)
	}
	return s.choose(index, wanted, 0)
}

// choose takes the image for our platform out of an index and those in it.
func (s *Sources) choose(index v1.ImageIndex, wanted match.Matcher, depth int) (found, error) {
	const deepest = 3
	if depth > deepest {
		return found{}, fmt.Errorf("%w: indexes within indexes", problem.ErrInvalid)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return found{}, err
	}
	var fit []v1.Descriptor
	for _, d := range manifest.Manifests {
		if wanted(d) && (d.Platform == nil || d.Platform.Satisfies(s.platform())) {
			fit = append(fit, d)
		}
	}
	switch {
	case len(fit) == 0:
		return found{}, fmt.Errorf("image %w in the layout for %s", problem.ErrNotFound, s.platform())
	case len(fit) > 1:
		return found{}, fmt.Errorf("%w: the layout has %d images, and the reference does not name one", problem.ErrInvalid, len(fit))
	}
	d := fit[0]
	if d.MediaType.IsIndex() {
		child, err := index.ImageIndex(d.Digest)
		if err != nil {
			return found{}, err
		}
		f, err := s.choose(child, func(v1.Descriptor) bool { return true }, depth+1)
		f.top = d.Digest
		return f, err
	}
	images, err := partial.FindImages(index, match.Digests(d.Digest))
	if err != nil {
		return found{}, err
	}
	if len(images) == 0 {
		return found{}, fmt.Errorf("%w: %s is not an image", problem.ErrInvalid, d.Digest)
	}
	return found{image: images[0], top: d.Digest}, nil
}

// fromArchive reads FILE or FILE:NAME.
func fromArchive(where string) (found, error) {
	file, ref := splitPath(where)
	var tag *name.Tag
	if ref != "" {
		t, err := name.NewTag(ref)
		if err != nil {
			return found{}, fmt.Errorf("%w: %w", problem.ErrInvalid, err)
		}
		tag = &t
	}
	img, err := tarball.ImageFromPath(file, tag)
	if err != nil {
		return found{}, fmt.Errorf("open archive: %w", err)
	}
	top, err := img.Digest()
	return found{image: img, top: top}, err
}

// splitPath cuts a name off a path; a path itself has no colon in its last part.
func splitPath(s string) (path, ref string) {
	dir, last := filepath.Split(s)
	last, ref, _ = strings.Cut(last, ":")
	if i := strings.Index(dir, ":"); i >= 0 { // the name has slashes
		return dir[:i], strings.TrimPrefix(s, dir[:i+1])
	}
	return dir + last, ref
}

// explain makes the error one for people.
func explain(ref string, err error) error {
	p := &problem.Error{Op: "get image", Subject: ref, Err: err, Hint: "check the name, and that the registry can be reached from this machine"}
	var e *transport.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("get image %s: %w", ref, err)
	case errors.Is(err, problem.ErrInvalid):
		p.Hint = "write it as registry/repository:tag, oci:DIRECTORY[:NAME] or docker-archive:FILE[:NAME]"
	case missing(err):
		p.Err = fmt.Errorf("image %w: %w", problem.ErrNotFound, err)
		p.Hint = "check the name and the tag; penstock image alias gives an image of this machine the name"
	case errors.As(err, &e) && (e.StatusCode == http.StatusUnauthorized || e.StatusCode == http.StatusForbidden):
		p.Err = fmt.Errorf("%w: %w", problem.ErrForbidden, err)
		p.Hint = "the registry wants credentials, or has no such image, which many registries do not tell apart"
	}
	return p
}
