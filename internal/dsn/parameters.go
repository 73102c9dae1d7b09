// SPDX-License-Identifier: Apache-2.0

package dsn

import (
	"regexp"
	"strings"
)

// known has the parameters that pgx v5.12 uses itself.
var known = set(`host port dbname database user password passfile connect_timeout sslmode sslkey sslcert sslcertmode
	sslrootcert sslnegotiation sslpassword sslsni krbspn krbsrvname target_session_attrs service servicefile
	min_protocol_version max_protocol_version channel_binding require_auth options
	default_query_exec_mode statement_cache_capacity description_cache_capacity
	pool_max_conns pool_min_conns pool_min_idle_conns pool_max_conn_lifetime pool_max_conn_idle_time
	pool_health_check_period pool_max_conn_lifetime_jitter pool_ping_timeout`)

// ignored has the parameters without effect here, and the values that can hold no secret. Where a parameter is in refused as
// well, it is ignored with these values only.
var ignored = map[string]*regexp.Regexp{
	// TCP: Go's dialer has keep-alives of its own, and each call has a time limit.
	"keepalives":          pattern(`[01]`),
	"keepalives_idle":     pattern(`[0-9]{1,6}`),
	"keepalives_interval": pattern(`[0-9]{1,6}`),
	"keepalives_count":    pattern(`[0-9]{1,6}`),
	"tcp_user_timeout":    pattern(`[0-9]{1,9}`),
	"load_balance_hosts":  pattern(`disable|random`), // hosts are tried in the order of the DSN
	// GSSAPI: pgx does not encrypt by it, and has no provider for logins by it.
	"gssencmode":    pattern(`disable|prefer`),
	"gssdelegation": pattern(`[01]`),
	"gsslib":        pattern(`gssapi|sspi`),
	// libpq itself ignores these.
	"sslcompression": pattern(`[01]`),
	"tty":            pattern(``),
	"authtype":       pattern(``),
	// The session has a name already.
	"fallback_application_name": pattern(`[A-Za-z0-9._-]+`),
	// These turn off what is off anyway.
	"replication":   pattern(`false|off|no|0`),
	"requiressl":    pattern(`0`),
	"requirepeer":   pattern(``),
	"sslcrl":        pattern(``),
	"sslcrldir":     pattern(``),
	"sslkeylogfile": pattern(``),
	"pgbouncer":     pattern(`false|0`),
}

// An alternative is what to write instead of a refused parameter.
type alternative struct {
	name   string // as its driver spells it
	advice string
}

// refused has the refused parameters by their names in lower case. None of them is a setting of the server that a session
// may have.
var refused = byName(
	// libpq's, which promise what pgx does not do.
	alternative{"hostaddr", "write the address as host"},
	alternative{"requirepeer", "pgx does not check the owner of a socket; remove it"},
	alternative{"requiressl", "write sslmode=require"},
	alternative{"gssencmode", "pgx does not encrypt by GSSAPI; write sslmode=verify-full and remove it"},
	alternative{"sslcrl", "pgx reads no revocation lists; remove it, and replace the authority of a revoked certificate"},
	alternative{"sslcrldir", "pgx reads no revocation lists; remove it, and replace the authority of a revoked certificate"},
	alternative{"sslkeylogfile", "TLS keys are not logged; remove it"},
	alternative{"ssl_min_protocol_version", "connections have TLS 1.2 or 1.3; set a higher minimum at the server, and remove it"},
	alternative{"ssl_max_protocol_version", "connections have TLS 1.2 or 1.3; set a lower maximum at the server, and remove it"},
	alternative{"scram_client_key", "write password"},
	alternative{"scram_server_key", "write password"},
	alternative{"oauth_issuer", "pgx does not log in by OAuth; write password, or sslcert and sslkey"},
	alternative{"oauth_client_id", "pgx does not log in by OAuth; write password, or sslcert and sslkey"},
	alternative{"oauth_client_secret", "pgx does not log in by OAuth; write password, or sslcert and sslkey"},
	alternative{"oauth_scope", "pgx does not log in by OAuth; write password, or sslcert and sslkey"},
	alternative{"replication", "a replication connection cannot be used; remove it"},

	// The schema.
	alternative{"schema", "write search_path=SCHEMA"},
	alternative{"schemas", "write search_path=SCHEMA"},
	alternative{"currentSchema", "write search_path=SCHEMA"},
	alternative{"current_schema", "write search_path=SCHEMA"},
	alternative{"searchpath", "write search_path=SCHEMA"},
	alternative{"schema_search_path", "write search_path=SCHEMA"},

	// Poolers and prepared statements.
	alternative{"pgbouncer", "write default_query_exec_mode=exec"},
	alternative{"prepareThreshold", "write default_query_exec_mode=exec"},
	alternative{"prepared_statements", "write default_query_exec_mode=exec"},
	alternative{"preferQueryMode", "write default_query_exec_mode=exec"},
	alternative{"prefer_simple_protocol", "write default_query_exec_mode=simple_protocol"},
	alternative{"statement_cache_mode", "write default_query_exec_mode=cache_describe"},
	alternative{"statement_cache_size", "write statement_cache_capacity"},
	alternative{"prepared_statement_cache_size", "write statement_cache_capacity"},
	alternative{"preparedStatementCacheQueries", "write statement_cache_capacity"},
	alternative{"binary_parameters", leaveOut},
	alternative{"disable_prepared_binary_result", leaveOut},
	alternative{"disable_server_side_cursors", leaveOut},
	alternative{"workaround", leaveOut},
	alternative{"supa", leaveOut},

	// The size of the pool, and times.
	alternative{"connection_limit", setSize},
	alternative{"connectionLimit", setSize},
	alternative{"pool", setSize},
	alternative{"poolSize", setSize},
	alternative{"max_pool_size", setSize},
	alternative{"maxPoolSize", setSize},
	alternative{"maximumPoolSize", setSize},
	alternative{"max_overflow", setSize},
	alternative{"min_pool_size", setIdle},
	alternative{"minPoolSize", setIdle},
	alternative{"minimumIdle", setIdle},
	alternative{"conn_max_age", "set the lifetime of connections by --database-connection-lifetime"},
	alternative{"conn_health_checks", leaveOut},
	alternative{"reaping_frequency", "set the idle time of connections by --database-connection-idle-time"},
	alternative{"idle_timeout", "set the idle time of connections by --database-connection-idle-time"},
	alternative{"checkout_timeout", setTime},
	alternative{"socket_timeout", setTime},
	alternative{"socketTimeout", setTime},
	alternative{"command_timeout", setTime},
	alternative{"commandTimeout", setTime},
	alternative{"query_timeout", setTime},
	alternative{"loginTimeout", "write connect_timeout=SECONDS"},
	alternative{"connectTimeout", "write connect_timeout=SECONDS"},
	alternative{"connectionTimeout", "write connect_timeout=SECONDS"},
	alternative{"connection_timeout", "write connect_timeout=SECONDS"},
	alternative{"connectionTimeoutMillis", "write connect_timeout=SECONDS"},
	alternative{"timeout", "write connect_timeout=SECONDS"},
	alternative{"tcpKeepAlive", leaveOut},

	// TLS.
	alternative{"ssl", setTLS},
	alternative{"ssl_mode", setTLS},
	alternative{"ssl_require", setTLS},
	alternative{"usessl", setTLS},
	alternative{"tls", setTLS},
	alternative{"sslaccept", setTLS},
	alternative{"sslfactory", setTLS},
	alternative{"sslhostnameverifier", setTLS},
	alternative{"trustServerCertificate", setTLS},
	alternative{"rejectUnauthorized", setTLS},
	alternative{"uselibpqcompat", setTLS},
	alternative{"sslca", "write sslrootcert=FILE"},
	alternative{"ssl_ca", "write sslrootcert=FILE"},
	alternative{"ssl_cert", "write sslcert=FILE"},
	alternative{"ssl_key", "write sslkey=FILE"},
	alternative{"sslidentity", "write sslcert=FILE and sslkey=FILE"},
	alternative{"sslinline", "write files into sslcert, sslkey and sslrootcert"},
	alternative{"sslpasswordcallback", "write sslpassword"},

	// User, host and database.
	alternative{"hostname", "write host"},
	alternative{"server", "write host"},
	alternative{"db", "write dbname"},
	alternative{"name", "write dbname"},
	alternative{"username", "write user"},
	alternative{"pass", "write password"},
	alternative{"passwd", "write password"},
	alternative{"pwd", "write password"},
	alternative{"applicationName", "write application_name"},
	alternative{"targetServerType", "write target_session_attrs=read-write"},
	alternative{"loadBalanceHosts", leaveOut},
	alternative{"hostRecheckSeconds", leaveOut},

	// The behaviour of other drivers.
	alternative{"adapter", leaveOut},
	alternative{"driver", leaveOut},
	alternative{"engine", leaveOut},
	alternative{"encoding", leaveOut},
	alternative{"charset", leaveOut},
	alternative{"advisory_locks", leaveOut},
	alternative{"min_messages", "write client_min_messages"},
	alternative{"stringtype", leaveOut},
	alternative{"reWriteBatchedInserts", leaveOut},
	alternative{"defaultRowFetchSize", leaveOut},
	alternative{"atomic_requests", leaveOut},
)

const (
	leaveOut = "remove it"
	setSize  = "set the size of the pool by --database-max-connections"
	setIdle  = "set the idle connections by --database-idle-connections"
	setTime  = "set the time of a statement by --database-timeout"
	setTLS   = "write sslmode=verify-full, require or disable"
)

func set(names string) map[string]bool {
	all := map[string]bool{}
	for _, name := range strings.Fields(names) {
		all[name] = true
	}
	return all
}

func byName(all ...alternative) map[string]alternative {
	named := make(map[string]alternative, len(all))
	for _, one := range all {
		named[strings.ToLower(one.name)] = one
	}
	return named
}

func pattern(values string) *regexp.Regexp { return regexp.MustCompile(`^(?:` + values + `)$`) }
