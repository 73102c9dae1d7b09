#!/bin/sh
# Prints the path of PgBouncer, or fails with a sentence that says what to do. The scripts here and test/testenv both ask
# this one, so that they always agree.
#
#   PGBOUNCER   that path, when it is none of the usual ones
set -eu

if [ -n "${PGBOUNCER:-}" ]; then
	if [ -x "$PGBOUNCER" ] && [ ! -d "$PGBOUNCER" ]; then
		printf '%s\n' "$PGBOUNCER"
		exit 0
	fi
	echo "PGBOUNCER is $PGBOUNCER, which is no program" >&2
	exit 1
fi

# Debian keeps it off the PATH of people who are not root.
PATH="$PATH:/usr/sbin:/usr/local/sbin:/opt/homebrew/bin"
if command -v pgbouncer; then
	exit 0
fi

echo "no PgBouncer found: run \`make prepare\`, install the package pgbouncer (macOS: brew install pgbouncer)," \
	"or set PGBOUNCER to the path of the program" >&2
exit 1
