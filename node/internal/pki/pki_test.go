package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/node/internal/fault"
)

func store(t *testing.T) (*Store, *time.Time, []Leaf) {
	t.Helper()
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	s := &Store{Dir: t.TempDir(), Now: func() time.Time { return now }}
	leaves := append(ControlPlane([]net.IP{net.IPv4(10, 214, 0, 1)}, net.IPv4(10, 215, 0, 1), "cluster.local"), Node("penstock", net.IPv4(10, 214, 0, 1))...)
	return s, &now, leaves
}

func ensure(t *testing.T, s *Store, leaves []Leaf) []string {
	t.Helper()
	issued, err := s.Ensure(leaves)
	if err != nil {
		t.Fatal(err)
	}
	return issued
}

func names(leaves []Leaf) []string {
	var out []string
	for _, l := range leaves {
		out = append(out, l.Name)
	}
	return out
}

// TestRenewal walks a clock through the life of the leaves.
func TestRenewal(t *testing.T) {
	s, now, leaves := store(t)
	begin := *now
	for _, tc := range []struct {
		after time.Duration
		want  []string
	}{
		{0, names(leaves)},
		{time.Hour, nil},
		{19 * 24 * time.Hour, nil},
		{20*24*time.Hour + time.Minute, names(leaves)},
		{39 * 24 * time.Hour, nil},
		{365 * 24 * time.Hour, names(leaves)}, // a machine that was off for long
		{-12 * time.Hour, nil},                // put right to before the issue, within a day
	} {
		if tc.after < 0 {
			*now = now.Add(tc.after)
		} else {
			*now = begin.Add(tc.after)
		}
		if d := cmp.Diff(tc.want, ensure(t, s, leaves)); d != "" {
			t.Errorf("after %s issued (-want +got):\n%s", tc.after, d)
		}
	}
	// A clock that jumped years back makes certificates that are not valid yet.
	*now = begin.Add(-365 * 24 * time.Hour)
	if got := ensure(t, s, leaves); len(got) != len(leaves) {
		t.Errorf("after the clock jumped back only %v were issued", got)
	}
}

func TestNextRenewal(t *testing.T) {
	s, now, leaves := store(t)
	if got := s.NextRenewal(leaves); !got.Equal(*now) {
		t.Errorf("without certificates it is %s, want now", got)
	}
	ensure(t, s, leaves)
	if got, want := s.NextRenewal(leaves), now.Add(20*24*time.Hour); !got.Equal(want) {
		t.Errorf("it is %s, want %s", got, want)
	}
	*now = now.Add(-2 * 24 * time.Hour) // before the leaves begin
	if got := s.NextRenewal(leaves); !got.Equal(*now) {
		t.Errorf("with a clock put back it is %s, want now", got)
	}
}

// TestHandshake: the server's leaf is accepted under each of its names, and the
// clients' by the server.
func TestHandshake(t *testing.T) {
	s, _, leaves := store(t)
	s.Now = time.Now
	ensure(t, s, leaves)
	ca, err := readCert(s.Cert(CA))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	server, err := tls.LoadX509KeyPair(s.Cert(APIServer), s.Key(APIServer))
	if err != nil {
		t.Fatal(err)
	}
	client, err := tls.LoadX509KeyPair(s.Cert(Admin), s.Key(Admin))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"10.214.0.1", "10.215.0.1", "127.0.0.1", "localhost", "kubernetes.default.svc.cluster.local"} {
		a, b := net.Pipe()
		srv := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{server}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert})
		cli := tls.Client(b, &tls.Config{RootCAs: pool, ServerName: name, Certificates: []tls.Certificate{client}})
		done := make(chan error, 1)
		go func() { done <- srv.HandshakeContext(t.Context()) }()
		if err := cli.HandshakeContext(t.Context()); err != nil {
			t.Errorf("%s: client: %v", name, err)
		}
		if err := <-done; err != nil {
			t.Errorf("%s: server: %v", name, err)
		}
		if got := srv.ConnectionState().PeerCertificates[0].Subject; got.CommonName != "penstock-admin" || got.Organization[0] != "system:masters" {
			t.Errorf("the client is %v", got)
		}
	}
}

func TestIssueAgain(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(t *testing.T, s *Store, leaves []Leaf)
		want   []string
	}{
		"nothing":     {func(*testing.T, *Store, []Leaf) {}, nil},
		"new address": {func(_ *testing.T, _ *Store, l []Leaf) { l[0].IPs = append(l[0].IPs, net.IPv4(10, 9, 9, 9)) }, []string{APIServer}},
		"key lost":    {func(t *testing.T, s *Store, _ []Leaf) { remove(t, s.Key(Admin)) }, []string{Admin}},
		"half written": {func(t *testing.T, s *Store, _ []Leaf) {
			// The crash between the two files: a new key beside the old certificate.
			b, err := os.ReadFile(s.Key(Scheduler))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(s.Key(Admin), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{Admin}},
		"garbage": {func(t *testing.T, s *Store, _ []Leaf) {
			if err := os.WriteFile(s.Cert(Proxy), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{Proxy}},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, leaves := store(t)
			ensure(t, s, leaves)
			tc.change(t, s, leaves)
			if d := cmp.Diff(tc.want, ensure(t, s, leaves)); d != "" {
				t.Errorf("issued (-want +got):\n%s", d)
			}
			if got := ensure(t, s, leaves); got != nil {
				t.Errorf("issued again: %v", got)
			}
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// TestAuthority: an authority is never replaced silently.
func TestAuthority(t *testing.T) {
	t.Run("interrupted first start", func(t *testing.T) {
		s, _, leaves := store(t)
		ensure(t, s, leaves)
		remove(t, s.Cert(CA)) // written last, so a crash leaves the key alone
		ensure(t, s, leaves)
	})
	t.Run("key lost", func(t *testing.T) {
		s, _, leaves := store(t)
		ensure(t, s, leaves)
		remove(t, s.Key(CA))
		_, err := s.Ensure(leaves)
		if err == nil || fault.Hint(err) == "" {
			t.Errorf("got %v, want a refusal with a hint", err)
		}
		if _, err := os.Stat(s.Key(CA)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a new key was made: %v", err)
		}
	})
	t.Run("ended", func(t *testing.T) {
		s, now, leaves := store(t)
		ensure(t, s, leaves)
		*now = now.Add(authorityLife + time.Hour)
		if _, err := s.Ensure(leaves); err == nil || fault.Hint(err) == "" {
			t.Errorf("got %v, want a refusal with a hint", err)
		}
	})
	t.Run("not begun", func(t *testing.T) {
		s, now, leaves := store(t)
		ensure(t, s, leaves)
		*now = now.Add(-authorityBackdate - time.Hour)
		if _, err := s.Ensure(leaves); err == nil || !strings.Contains(fault.Hint(err), "clock") {
			t.Errorf("got %v, want a refusal with a hint at the clock", err)
		}
	})
}

func TestPermissions(t *testing.T) {
	s, _, leaves := store(t)
	ensure(t, s, leaves)
	keys, err := filepath.Glob(filepath.Join(s.Dir, "*.key"))
	if err != nil || len(keys) != len(leaves)+3 {
		t.Fatalf("keys %v, %v", keys, err)
	}
	for _, k := range keys {
		st, err := os.Stat(k)
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", k, st.Mode().Perm())
		}
	}
}
