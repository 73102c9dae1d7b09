// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pair returns a new certificate and its key in PEM format.
func pair(t *testing.T) (certificate, key string) {
	t.Helper()
	serve, err := SelfSigned(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	made, _ := serve(nil)
	der, err := x509.MarshalECPrivateKey(made.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: made.Certificate[0]})),
		string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// certificates serves a folder by a clock that passes ReloadInterval before each question.
type certificates struct {
	serve Certificates
	now   time.Time
	log   bytes.Buffer
}

func serveFolder(t *testing.T, dir string) *certificates {
	t.Helper()
	c := &certificates{now: time.Now()}
	var err error
	c.serve, err = NewCertificates(dir, func() time.Time { return c.now }, slog.New(slog.NewTextHandler(&c.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// serves reports whether a certificate in PEM format is served, with a key that belongs to it.
func (c *certificates) serves(t *testing.T, certificate string) bool {
	t.Helper()
	c.now = c.now.Add(ReloadInterval)
	got, err := c.serve(nil)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(got.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if !parsed.PublicKey.(*ecdsa.PublicKey).Equal(got.PrivateKey.(*ecdsa.PrivateKey).Public()) {
		t.Error("the served key does not belong to the served certificate")
	}
	block, _ := pem.Decode([]byte(certificate))
	return bytes.Equal(block.Bytes, got.Certificate[0])
}

func TestAHalfWrittenPairIsNeverServed(t *testing.T) {
	dir := t.TempDir()
	oldCertificate, oldKey := pair(t)
	newCertificate, newKey := pair(t)
	write(t, dir, "tls.crt", oldCertificate)
	write(t, dir, "tls.key", oldKey)
	c := serveFolder(t, dir)
	for step, content := range []string{newKey[:40], newKey} {
		if write(t, dir, "tls.key", content); !c.serves(t, oldCertificate) {
			t.Errorf("step %d: the former certificate is not served", step)
		}
	}
	if write(t, dir, "tls.crt", newCertificate[:40]); !c.serves(t, oldCertificate) {
		t.Error("the former certificate is not served beside half of the new one")
	}
	if write(t, dir, "tls.crt", newCertificate); !c.serves(t, newCertificate) {
		t.Error("the new certificate is not served")
	}
}

// The kubelet replaces the symbolic link ..data of a mounted Secret, and then deletes the former folder.
func TestASwappedSymbolicLinkIsFollowed(t *testing.T) {
	dir := t.TempDir()
	mount := func(folder string) (certificate string) {
		certificate, key := pair(t)
		if err := os.Mkdir(filepath.Join(dir, folder), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, folder), "tls.crt", certificate)
		write(t, filepath.Join(dir, folder), "tls.key", key)
		if err := os.Symlink(folder, filepath.Join(dir, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
		return certificate
	}
	first := mount("..1")
	for _, name := range []string{"tls.crt", "tls.key"} {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	c := serveFolder(t, dir)
	if !c.serves(t, first) {
		t.Error("the first certificate is not served")
	}
	for _, folder := range []string{"..2", "..3"} {
		next := mount(folder)
		if err := os.RemoveAll(filepath.Join(dir, "..1")); err != nil {
			t.Fatal(err)
		}
		if !c.serves(t, next) {
			t.Errorf("the certificate of %s is not served", folder)
		}
	}
}

func TestAProblemOfTheFilesIsLoggedOnce(t *testing.T) {
	dir := t.TempDir()
	certificate, key := pair(t)
	write(t, dir, "tls.crt", certificate)
	write(t, dir, "tls.key", key)
	c := serveFolder(t, dir)
	problem := func(contents ...string) int {
		t.Helper()
		c.log.Reset()
		for _, content := range contents {
			write(t, dir, "tls.crt", content)
			if !c.serves(t, certificate) {
				t.Error("the former certificate is not served")
			}
		}
		return strings.Count(c.log.String(), "level=ERROR")
	}
	if n := problem("x", "x", "y"); n != 1 {
		t.Errorf("the same problem is logged %d times:\n%s", n, &c.log)
	}
	if n := problem(certificate, "x"); n != 1 {
		t.Errorf("the problem after a recovery is logged %d times:\n%s", n, &c.log)
	}
	if err := os.Remove(filepath.Join(dir, "tls.crt")); err != nil {
		t.Fatal(err)
	}
	c.log.Reset()
	for range 3 {
		c.serves(t, certificate)
	}
	if n := strings.Count(c.log.String(), "level=ERROR"); n != 1 {
		t.Errorf("the missing file is logged %d times:\n%s", n, &c.log)
	}
}

// The self-signed certificate is cheap, because each replica creates it at start and signs each handshake with it.
func TestTheSelfSignedCertificateIsForThisHost(t *testing.T) {
	serve, err := NewCertificates("", time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	made, err := serve(&tls.ClientHelloInfo{})
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(made.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"localhost", host, "127.0.0.1", "::1"} {
		if err := certificate.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if certificate.IsCA || certificate.PublicKeyAlgorithm != x509.ECDSA || time.Until(certificate.NotAfter) > 366*24*time.Hour {
		t.Errorf("it is a CA: %t, its key is of %s, and it ends at %s", certificate.IsCA, certificate.PublicKeyAlgorithm, certificate.NotAfter)
	}
}
