// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/onsi/gomega"

	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// CloudNativePG itself is not installed. The test creates what it leaves in a namespace: the Secret <cluster>-app,
// whose uri has no sslmode, and <cluster>-ca with the authority of a server with TLS.
func TestTheDatabaseOfCloudNativePGIsVerified(t *testing.T) {
	g := gomega.NewWithT(t)
	uninstalled(t)
	server, err := testenv.StartPostgres(t.Context())
	g.Expect(err).NotTo(gomega.HaveOccurred())
	t.Cleanup(func() { g.Expect(server.Stop()).To(gomega.Succeed()) })
	admin, err := pgx.Connect(t.Context(), server.DSN())
	g.Expect(err).NotTo(gomega.HaveOccurred())
	defer func() { _ = admin.Close(context.WithoutCancel(t.Context())) }()
	authority := newAuthority(t)
	speakTLS(t, admin, authority)

	dsn, err := server.NewDatabase(t.Context())
	g.Expect(err).NotTo(gomega.HaveOccurred())
	uri, err := url.Parse(dsn)
	g.Expect(err).NotTo(gomega.HaveOccurred())
	uri.RawQuery = ""
	password, _ := uri.User.Password()
	app := map[string]string{ // as of 1.27, only the used keys
		"uri": uri.String(), "fqdn-uri": uri.String(), "host": uri.Hostname(), "port": uri.Port(), "dbname": uri.Path[1:],
		"user": uri.User.Username(), "username": uri.User.Username(), "password": password,
	}
	secret(t, system, "accounts-app", app)
	secret(t, system, "accounts-ca", map[string]string{"ca.crt": authority.certificate, "ca.key": "not for the manager"})
	helm(t, "install", release, chartFolder, "--namespace="+system, "--set=database.cloudNativePG.cluster=accounts")

	m := runs(t, managerName)
	g.Expect(m.Ready(t.Context())).To(gomega.Succeed())
	g.Eventually(func() (sessions int, err error) {
		err = admin.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
			WHERE ssl AND datname = $1`, app["dbname"]).Scan(&sessions)
		return sessions, err
	}).WithTimeout(soon).WithPolling(poll).Should(gomega.BeNumerically(">", 0), "it speaks TLS")
	g.Expect(m.Stop(25 * time.Second)).To(gomega.Succeed())

	// A proxy in between has the certificate of another authority.
	secret(t, system, "accounts-ca", map[string]string{"ca.crt": newAuthority(t).certificate})
	wary := runs(t, managerName)
	g.Eventually(func() (string, error) {
		said, err := os.ReadFile(wary.Log)
		return string(said), err
	}).WithTimeout(soon).WithPolling(poll).Should(gomega.ContainSubstring("The database's TLS certificate is not trusted"))
	var sessions int
	g.Expect(admin.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = $1`, app["dbname"]).Scan(&sessions)).
		To(gomega.Succeed())
	g.Expect(sessions).To(gomega.BeZero())
}

// An authority signs certificates.
type authority struct {
	certificate string // PEM
	parsed      *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "accounts"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{certificate: block("CERTIFICATE", der), parsed: parsed, key: key}
}

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// speakTLS gives a running server a certificate for its address. The server writes the files itself, because the folder
// belongs to it.
func speakTLS(t *testing.T, admin *pgx.Conn, by authority) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, by.parsed, key.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.StdEncoding.EncodeToString
	for _, statement := range []string{
		"COPY (SELECT '" + encode([]byte(block("CERTIFICATE", certificate))) + "') TO PROGRAM 'base64 -d >server.crt'",
		"COPY (SELECT '" + encode([]byte(block("PRIVATE KEY", private))) + "') TO PROGRAM 'umask 077; base64 -d >server.key'",
		"ALTER SYSTEM SET ssl = on",
		"SELECT pg_reload_conf()",
	} {
		if _, err := admin.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
}
