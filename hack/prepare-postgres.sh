#!/bin/sh
# Sees to it that there is a Postgres for tests and demo: the programs of one, or a DSN. Only their presence matters here;
# who needs a server starts one of his own, in a temporary folder on a free port (test/testenv).
#
#   TEST_DATABASE_DSN   a server that may be used for tests; nothing is installed then
#   POSTGRES_BIN        the folder of initdb and postgres, when it is none of the usual ones
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

if [ -n "${TEST_DATABASE_DSN:-}" ]; then
	echo "postgres: using the server of TEST_DATABASE_DSN"
	exit 0
fi

if dir=$("$here/find-postgres.sh" 2>/dev/null); then
	echo "postgres: $dir"
	exit 0
fi

if [ -n "${POSTGRES_BIN:-}" ] || [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
	"$here/find-postgres.sh" # says what is missing
	exit 1
fi

"$here/install-package.sh" postgresql

# The package starts a server of its own. Nobody asked for that one, and none can have run before without its programs.
if command -v pg_lsclusters >/dev/null; then
	pg_lsclusters --no-header | while read -r major cluster _ state _; do
		case $state in
		online*) pg_ctlcluster "$major" "$cluster" stop || true ;;
		esac
	done
fi

echo "postgres: $("$here/find-postgres.sh")"
