#!/bin/sh
# Sees to it that there is a PgBouncer for the tests of what docs/operations.md says of it. Only its presence matters here;
# who needs one starts his own, in a temporary folder on a free port (test/testenv).
#
#   PGBOUNCER   the path of the program, when it is none of the usual ones
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

if path=$("$here/find-pgbouncer.sh" 2>/dev/null); then
	echo "pgbouncer: $path"
	exit 0
fi

if [ -n "${PGBOUNCER:-}" ] || [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
	"$here/find-pgbouncer.sh" # says what is missing
	exit 1
fi

"$here/install-package.sh" pgbouncer

# The package starts a server of its own. Nobody asked for that one, and none can have run before without its program.
service pgbouncer stop >/dev/null 2>&1 || true

echo "pgbouncer: $("$here/find-pgbouncer.sh")"
