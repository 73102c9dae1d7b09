// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Certificates is the type of GetCertificate in [tls.Config].
type Certificates func(*tls.ClientHelloInfo) (*tls.Certificate, error)

// NewCertificates returns the certificate of tls.crt and tls.key in a folder, reloaded when they change. If dir is "",
// it returns a self-signed one.
func NewCertificates(dir string, now func() time.Time, log *slog.Logger) (Certificates, error) {
	if dir == "" {
		return SelfSigned(now())
	}
	return mountedCertificate(dir, now, log)
}

// mountedCertificate returns the certificate of tls.crt and tls.key in a folder, reloaded when they change.
//
// controller-runtime's certwatcher is not used. It does not start if the node has no inotify instance left, needs a
// goroutine of its own, and logs an unusable pair with each poll instead of once. Signing secrets need Reloaded in any
// case.
func mountedCertificate(dir string, now func() time.Time, log *slog.Logger) (Certificates, error) {
	pair := &Reloaded[*tls.Certificate]{
		Files: []string{filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")},
		Now:   now, Log: log,
		Parse: func(contents [][]byte) (*tls.Certificate, error) {
			certificate, err := tls.X509KeyPair(contents[0], contents[1])
			if err != nil {
				// Not wrapped, because a later version could quote a key.
				return nil, errors.New("not a certificate and its key in PEM format")
			}
			return &certificate, nil
		},
	}
	if err := pair.Load(); err != nil {
		return nil, fmt.Errorf("read the certificate: %w", err)
	}
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.Get(), nil }, nil
}

// SelfSigned returns a certificate that this process creates for itself. It is valid for a year from now, for localhost
// and the name of this host.
//
// client-go's util/cert is not used. Its GenerateSelfSignedCertKey takes 136 ms for two RSA keys instead of 0.14 ms,
// and each handshake then costs 1 ms for a signature instead of 0.03 ms. Its NewSelfSignedCACert has neither IP
// addresses nor the usage of a server.
func SelfSigned(now time.Time) (Certificates, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("create a key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("create a serial number: %w", err)
	}
	names := []string{"localhost"}
	if host, err := os.Hostname(); err == nil && host != "" {
		names = append(names, host)
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "shardinguser-operator"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     names,
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign a certificate: %w", err)
	}
	certificate := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate, nil }, nil
}
