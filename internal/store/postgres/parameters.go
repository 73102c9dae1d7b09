// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// nameable are settings that servers of some versions do not know, do not let a session set, or accept with some values only.
// A message may name these. Any other name may be a part of a password that is not quoted correctly.
var nameable = set(`
	client_connection_check_interval client_min_messages commit_delay compute_query_id cursor_tuple_fraction
	deadlock_timeout default_table_access_method default_tablespace default_toast_compression
	default_transaction_deferrable default_transaction_isolation default_transaction_read_only effective_cache_size
	effective_io_concurrency event_triggers extra_float_digits file_copy_method gin_pending_list_limit hash_mem_multiplier
	idle_in_transaction_session_timeout idle_session_timeout intervalstyle jit join_collapse_limit lc_messages lc_monetary
	lc_numeric lc_time lock_timeout log_duration log_lock_waits log_min_duration_statement log_min_messages log_statement
	logical_decoding_work_mem maintenance_work_mem max_connections max_parallel_workers max_parallel_workers_per_gather
	password_encryption plan_cache_mode random_page_cost restrict_nonsystem_relation_kind role row_security
	scram_iterations search_path seq_page_cost session_replication_role shared_buffers statement_timeout
	synchronous_commit tcp_keepalives_count tcp_keepalives_idle tcp_keepalives_interval temp_buffers temp_file_limit
	temp_tablespaces transaction_timeout wal_compression wal_sender_timeout work_mem xmloption`)

var word = regexp.MustCompile(`[A-Za-z_]+`)

// classifyParameter classifies a connection that the server rejected because of a parameter of the DSN. It is not ok for other
// refusals.
func classifyParameter(err error, e *pgconn.PgError) (v class, ok bool) {
	var connecting *pgconn.ConnectError
	if !errors.As(err, &connecting) {
		return class{}, false
	}
	var problem string
	switch {
	case e.Code == "42704":
		problem = "a parameter that the server does not know"
	case e.Code == "55P02":
		problem = "a parameter that only the server's own configuration may set"
	case e.Code == "22023":
		problem = "a parameter with a value that the server does not take"
	case e.Code == "42601" || e.Code == "42602":
		problem = "options that the server does not understand"
	case e.Code == codeMissingRight && strings.Contains(e.Message, "parameter"):
		problem = "a parameter that the role may not set"
	case strings.HasPrefix(e.Code, "08") && strings.Contains(e.Message, "startup parameter") && !strings.Contains(e.Message, "search_path"):
		problem = "a parameter that the pooler before the server does not take"
	default:
		return class{}, false
	}
	name := ""
	for _, found := range word.FindAllString(e.Message, -1) {
		if nameable[strings.ToLower(found)] {
			name = strings.ToLower(found) + ", "
		}
	}
	return class{kind: unavailable, sentence: fmt.Sprintf("The DSN has %s (%sSQLSTATE %s); remove it from the DSN, or correct it.",
		problem, name, e.Code)}, true
}

func set(names string) map[string]bool {
	all := map[string]bool{}
	for _, name := range strings.Fields(names) {
		all[name] = true
	}
	return all
}
