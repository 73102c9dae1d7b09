// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sharding-system/shardinguser-operator/internal/dsn"
)

// checkTogether checks what one value alone cannot tell.
func (l *loader) checkTogether(s *Settings) {
	if d := &s.Database; d.IdleConnections > d.MaxConnections {
		if idle := l.settings[flagIdleConnections]; idle.given() {
			l.problem(idle.origin, "%d idle connections are more than the %d of --%s; lower the first or raise the second",
				d.IdleConnections, d.MaxConnections, flagMaxConnections)
		} else {
			d.IdleConnections = d.MaxConnections
		}
	}
	l.checkShutdown(s)
	l.checkAddresses(s)
	l.checkDefaultUsers(s)
	l.checkCertificate(flagMetricsCertDir, s.MetricsCertDir)
	l.checkCertificate(flagLoginCertDir, s.Login.TLSCertDir)
	l.checkSecrets(&s.Login)
}

// checkShutdown checks that requests that arrive in the shutdown delay have time to finish.
func (l *loader) checkShutdown(s *Settings) {
	if s.ShutdownDelay < s.GracefulShutdownTimeout {
		return
	}
	if delay := l.settings[flagShutdownDelay]; delay.given() && s.ShutdownDelay > 0 {
		l.problem(delay.origin, "the shutdown delay of %s leaves no time of the %s of --%s to finish requests; lower the first or raise the second",
			s.ShutdownDelay, s.GracefulShutdownTimeout, flagShutdownTimeout)
		return
	}
	s.ShutdownDelay = s.GracefulShutdownTimeout / 2
}

// checkSecrets checks the files of the signing secrets. Their paths are not quoted, because one may be a secret itself.
func (l *loader) checkSecrets(login *Login) {
	for _, secret := range []struct{ flag, file string }{
		{flagJWTSecretFile, login.JWTSecretFile},
		{flagJWTSigningKeyFile, login.JWTSigningKeyFile},
		{flagJWTPreviousSecretFile, login.JWTPreviousSecretFile},
	} {
		if secret.file == "" {
			continue
		}
		_, err := os.ReadFile(secret.file)
		if secret.flag == flagJWTPreviousSecretFile && errors.Is(err, fs.ErrNotExist) {
			continue // it was removed to end it, and a restart must not fail by that
		}
		if err != nil {
			what := "signing secret: %w; set a file that contains at least 32 bytes"
			if secret.flag == flagJWTSigningKeyFile {
				what = "signing key: %w; set a PEM file that contains a private key"
			}
			l.problem(l.settings[secret.flag].origin, "cannot read the file of the "+what, cause(err))
		}
	}
	if login.JWTSecretFile == "" && login.JWTSigningKeyFile == "" && login.JWTPreviousSecretFile != "" {
		l.problem(l.settings[flagJWTPreviousSecretFile].origin, "a previous signing secret is set, but no current one; set --%s or --%s too",
			flagJWTSecretFile, flagJWTSigningKeyFile)
	}
	if login.JWTPreviousSecretFile == "" && !login.JWTPreviousSecretUntil.IsZero() {
		l.problem(l.settings[flagJWTPreviousSecretUntil].origin, "no previous signing secret is set; set --%s too", flagJWTPreviousSecretFile)
	}
}

// checkAddresses checks that no two servers listen where only one can.
func (l *loader) checkAddresses(s *Settings) {
	servers := []struct{ flag, address string }{
		{flagMetricsAddress, s.MetricsBindAddress},
		{flagHealthAddress, s.HealthProbeBindAddress},
		{flagLoginAddress, s.Login.BindAddress},
		{flagPprofAddress, s.PprofBindAddress},
	}
	for i, a := range servers {
		for _, b := range servers[i+1:] {
			if overlap(a.address, b.address) {
				l.problem("", "--%s (%s) and --%s (%s) are the same address; set different ports", a.flag, a.address, b.flag, b.address)
			}
		}
	}
}

// checkCertificate checks that the folder has a certificate and its key.
func (l *loader) checkCertificate(flag, dir string) {
	if dir == "" {
		return
	}
	for _, name := range []string{"tls.crt", "tls.key"} {
		//nolint:gosec // The path is the operator's own setting.
		if _, err := os.ReadFile(filepath.Join(dir, name)); err != nil {
			l.problem(l.settings[flag].origin, "cannot read %[2]s in the folder %[1]s: %[3]w; "+
				"mount a TLS Secret there", quoted(dir), name, cause(err))
		}
	}
}

// resolveDSN settles which DSN is in force, and checks it and the listener's.
func (l *loader) resolveDSN(d *Database) {
	var err error
	switch d.DSN, err = dsn.FromEnvironment(); {
	case d.DSNFile != "":
		if d.DSN, err = dsn.ReadFile(d.DSNFile); err != nil {
			l.problem(l.settings[flagDSNFile].origin, "%w", err)
		}
	case err != nil:
		l.problem("", "%w", err)
	case d.DSN == "" && l.fileDSN != "":
		d.DSN = dsn.DSN(l.fileDSN)
		if err := d.DSN.Check(); err != nil {
			l.problem(keyDSN+" in "+l.file, "%w", err)
		}
	}

	if d.ListenDSNFile == "" {
		return
	}
	origin := l.settings[flagListenDSNFile].origin
	if _, err := dsn.ReadFile(d.ListenDSNFile); err != nil {
		l.problem(origin, "%w", err)
	}
	if d.DSN == "" && d.DSNFile == "" {
		l.problem(origin, "no database is set to listen to; set its DSN by --%s, %s or %s in the settings file",
			flagDSNFile, dsn.Variable, keyDSN)
	}
}

// checkLoginDSN checks the DSN of the login role, and whether logins are served.
func (l *loader) checkLoginDSN(s Settings) {
	d := s.Database
	if d.LoginDSNFile == "" {
		if given := l.settings[flagLoginMaxConnections]; given.given() {
			l.problem(given.origin, "logins have no connection pool without a separate role; set the DSN of one by --%s, "+
				"or set --%s for all", flagLoginDSNFile, flagMaxConnections)
		}
		return
	}
	origin := l.settings[flagLoginDSNFile].origin
	switch its, err := dsn.ReadFile(d.LoginDSNFile); {
	case err != nil:
		l.problem(origin, "%w", err)
	case its == d.DSN:
		l.problem(origin, "the file contains the controller's DSN; write the DSN of another role, or remove the flag")
	}
	if d.DSN == "" && d.DSNFile == "" {
		l.problem(origin, "the login role needs a controller role; set the controller's DSN by --%s, %s or %s in the settings file",
			flagDSNFile, dsn.Variable, keyDSN)
	}
	if !s.Login.Enabled() {
		l.problem(origin, "the login role is unused while --%s is 0; remove one of the two flags",
			flagLoginAddress)
	}
}
