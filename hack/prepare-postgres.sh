#!/bin/sh
# Installs Postgres for the tests and the demo, unless its programs or a DSN are present. It starts no server: test/testenv starts
# one in a temporary folder on a free port.
#
#   TEST_DATABASE_DSN   a server for tests; then nothing is installed
#   POSTGRES_BIN        the folder of initdb and postgres, if it is not one of the usual ones
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
	"$here/find-postgres.sh" # prints what is missing
	exit 1
fi

"$here/install-package.sh" postgresql

# Stop the server that the package starts. No other can be running, since its programs were missing.
if command -v pg_lsclusters >/dev/null; then
	pg_lsclusters --no-header | while read -r major cluster _ state _; do
		case $state in
		online*) pg_ctlcluster "$major" "$cluster" stop || true ;;
		esac
	done
fi

echo "postgres: $("$here/find-postgres.sh")"
