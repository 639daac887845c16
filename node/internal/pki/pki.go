// Package pki makes and renews the certificates of the embedded cluster. Three
// authorities live as long as the cluster; the leaves are short and are issued
// again well before they end. Everything that uses a leaf reads it from its
// file again when it changes, so a renewal needs no restart.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/penstock-dev/penstock/node/internal/fault"
	"github.com/penstock-dev/penstock/node/internal/layout"
)

const (
	authorityLife = 20 * 365 * 24 * time.Hour
	leafLife      = 30 * 24 * time.Hour
	// renewBefore is how long before its end a leaf is issued again. client-go
	// looks at a certificate's file every five minutes, the apiserver and the
	// kubelet every minute, so ten days leave room for a laptop asleep.
	renewBefore = 10 * 24 * time.Hour
	// backdate covers a clock that was ahead when the leaf was issued and was
	// then put right.
	backdate = 24 * time.Hour
	// authorityBackdate does so for the authorities, which are not issued
	// again: a clock that was years ahead at the first start is put right.
	authorityBackdate = 10 * 365 * 24 * time.Hour
)

// Names of the files, without directory and ending.
const (
	CA             = "ca"             // signs servers and clients of the cluster
	FrontProxyCA   = "front-proxy-ca" // signs the aggregator's client
	ServiceAccount = "service-account"
)

// Leaf is a certificate to issue.
type Leaf struct {
	Name   string // of the files
	Issuer string // CA or FrontProxyCA
	CN     string
	Groups []string
	DNS    []string
	IPs    []net.IP
	Server bool // serverAuth, else clientAuth
}

// Store is the directory with the keys and certificates.
type Store struct {
	Dir string
	Now func() time.Time
}

// Cert and Key return the paths of a pair.
func (s *Store) Cert(name string) string { return filepath.Join(s.Dir, name+".crt") }
func (s *Store) Key(name string) string  { return filepath.Join(s.Dir, name+".key") }

// Ensure makes the authorities and the service account key where they are
// missing, and issues every leaf that is missing, does not fit any more or
// ends soon. It returns the names of the leaves that it issued.
func (s *Store) Ensure(leaves []Leaf) (issued []string, err error) {
	authorities := map[string]*authority{}
	for _, name := range []string{CA, FrontProxyCA} {
		if authorities[name], err = s.authority(name); err != nil {
			return nil, err
		}
	}
	if err := s.serviceAccountKey(); err != nil {
		return nil, err
	}
	for _, l := range leaves {
		a := authorities[l.Issuer]
		if a == nil {
			return issued, fmt.Errorf("issue %s: no authority %q", l.Name, l.Issuer)
		}
		if s.good(l, a.cert) {
			continue
		}
		if err := s.issue(l, a); err != nil {
			return issued, fmt.Errorf("issue the certificate %s: %w", l.Name, err)
		}
		issued = append(issued, l.Name)
	}
	return issued, nil
}

// NextRenewal returns when the first of the leaves has to be issued again.
func (s *Store) NextRenewal(leaves []Leaf) time.Time {
	next := s.Now().Add(leafLife)
	for _, l := range leaves {
		c, err := readCert(s.Cert(l.Name))
		if err != nil || s.Now().Before(c.NotBefore) { // the clock was put back
			return s.Now()
		}
		if t := c.NotAfter.Add(-renewBefore); t.Before(next) {
			next = t
		}
	}
	return next
}

type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// authority reads the authority or, if both its files are missing, makes it.
// One without the other is refused: making a new one would cut off every
// client that trusts the old.
func (s *Store) authority(name string) (*authority, error) {
	cert, certErr := readCert(s.Cert(name))
	key, keyErr := readKey(s.Key(name))
	switch {
	case certErr == nil && keyErr == nil:
		if s.Now().After(cert.NotAfter) {
			return nil, &fault.Error{Op: "use the authority", Subject: s.Cert(name), Err: fmt.Errorf("ended on %s", cert.NotAfter.Format(time.DateOnly)),
				Hint: "check the machine's clock; if it is right, remove the directory " + s.Dir + " and start again"}
		}
		if s.Now().Before(cert.NotBefore) {
			return nil, &fault.Error{Op: "use the authority", Subject: s.Cert(name), Err: fmt.Errorf("begins on %s", cert.NotBefore.Format(time.DateOnly)),
				Hint: "check the machine's clock, which says " + s.Now().Format(time.DateOnly) + "; if it is right, remove the directory " + s.Dir + " and start again"}
		}
		return &authority{cert, key}, nil
	case errors.Is(certErr, fs.ErrNotExist) && (keyErr == nil || errors.Is(keyErr, fs.ErrNotExist)):
		// The certificate is written last, so a key alone is what an
		// interrupted first start left; nobody has trusted it yet.
	default:
		return nil, &fault.Error{Op: "read the authority", Subject: name, Err: errors.Join(certErr, keyErr),
			Hint: "restore " + s.Cert(name) + " and " + s.Key(name) + ", or remove the directory " + s.Dir + " to make new ones (clients must then take the new kubeconfig)"}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := s.Now()
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "penstock " + name},
		NotBefore:    now.Add(-authorityBackdate), NotAfter: now.Add(authorityLife),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}, &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "penstock " + name}}, key.Public(), key)
	if err != nil {
		return nil, err
	}
	if err := s.write(name, der, key); err != nil {
		return nil, fmt.Errorf("write the authority %s: %w", name, err)
	}
	cert, err = x509.ParseCertificate(der)
	return &authority{cert, key}, err
}

// serviceAccountKey makes the key that signs service account tokens. It is RSA
// because every consumer of such tokens knows RS256.
func (s *Store) serviceAccountKey() error {
	_, err := readKey(s.Key(ServiceAccount))
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	return writeKey(s.Key(ServiceAccount), key)
}

// good says whether the leaf on disk can be kept.
func (s *Store) good(l Leaf, ca *x509.Certificate) bool {
	c, err := readCert(s.Cert(l.Name))
	if err != nil {
		return false
	}
	key, err := readKey(s.Key(l.Name))
	if err != nil {
		return false
	}
	pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !pub.Equal(c.PublicKey) || c.CheckSignatureFrom(ca) != nil {
		return false
	}
	now := s.Now()
	if now.Before(c.NotBefore) || now.After(c.NotAfter.Add(-renewBefore)) {
		return false
	}
	return c.Subject.CommonName == l.CN &&
		slices.Equal(sorted(c.Subject.Organization), sorted(l.Groups)) &&
		slices.Equal(sorted(c.DNSNames), sorted(l.DNS)) &&
		slices.Equal(ipStrings(c.IPAddresses), ipStrings(l.IPs)) &&
		slices.Contains(c.ExtKeyUsage, l.usage())
}

func (l Leaf) usage() x509.ExtKeyUsage {
	if l.Server {
		return x509.ExtKeyUsageServerAuth
	}
	return x509.ExtKeyUsageClientAuth
}

func (s *Store) issue(l Leaf, a *authority) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := newSerial()
	if err != nil {
		return err
	}
	now := s.Now()
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: l.CN, Organization: l.Groups},
		DNSNames:     l.DNS, IPAddresses: l.IPs,
		NotBefore: now.Add(-backdate), NotAfter: now.Add(leafLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{l.usage()},
	}, a.cert, key.Public(), a.key)
	if err != nil {
		return err
	}
	return s.write(l.Name, der, key)
}

func (s *Store) write(name string, der []byte, key crypto.Signer) error {
	if err := writeKey(s.Key(name), key); err != nil {
		return err
	}
	return layout.WriteFile(s.Cert(name), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

func writeKey(path string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return layout.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

func readPEM(path, kind string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("%s holds no %s", path, kind)
	}
	return block.Bytes, nil
}

func readCert(path string) (*x509.Certificate, error) {
	der, err := readPEM(path, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func readKey(path string) (crypto.Signer, error) {
	der, err := readPEM(path, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	k, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	signer, ok := k.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s holds a key that cannot sign", path)
	}
	return signer, nil
}

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}

func sorted(in []string) []string {
	out := slices.Clone(in)
	slices.Sort(out)
	return out
}

func ipStrings(in []net.IP) []string {
	out := make([]string, 0, len(in))
	for _, ip := range in {
		out = append(out, ip.String())
	}
	return sorted(out)
}
