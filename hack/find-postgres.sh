#!/bin/sh
# Prints the folder of the Postgres server programs (initdb, postgres), or fails with an instruction. The scripts here and
# test/testenv both run it, so that they agree.
#
#   find-postgres.sh [MAJOR]
#
#   MAJOR          the major version, such as 14; the default is any version
#   POSTGRES_BIN   the folder, if it is not one of the usual ones
set -eu

wanted=${1:-}

has_server() {
	[ -x "$1/initdb" ] && [ -x "$1/postgres" ]
}

# is_major FOLDER: succeeds if the server in this folder runs and has the wanted major version.
is_major() {
	has_server "$1" && [ "$("$1/postgres" --version 2>/dev/null | awk '{ print int($3) }')" = "$wanted" ]
}

if [ -n "$wanted" ]; then
	root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
	on_path=$(command -v initdb || true)
	for dir in "${POSTGRES_BIN:-}" "${on_path%/initdb}" "/usr/lib/postgresql/$wanted/bin" "/usr/pgsql-$wanted/bin" \
		"/opt/homebrew/opt/postgresql@$wanted/bin" "/usr/local/opt/postgresql@$wanted/bin" "$root/bin/postgres/$wanted/bin"; do
		if is_major "$dir"; then
			printf '%s\n' "$dir"
			exit 0
		fi
	done
	echo "no server of Postgres $wanted found: run \`hack/prepare-postgres-majors.sh $wanted\`," \
		"or set POSTGRES_BIN to the folder of its initdb" >&2
	exit 1
fi

if [ -n "${POSTGRES_BIN:-}" ]; then
	if has_server "$POSTGRES_BIN"; then
		printf '%s\n' "$POSTGRES_BIN"
		exit 0
	fi
	echo "POSTGRES_BIN is $POSTGRES_BIN, which does not contain initdb and postgres" >&2
	exit 1
fi

if on_path=$(command -v initdb) && has_server "$(dirname "$on_path")"; then
	dirname "$on_path"
	exit 0
fi

# Debian, Red Hat and Homebrew install them outside PATH, in a folder for each major version.
newest=''
newest_major=0
for dir in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin \
	/opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin; do
	has_server "$dir" || continue
	major=$(printf '%s\n' "$dir" | sed 's|.*[/@-]\([0-9][0-9]*\)[^/]*/bin$|\1|')
	if [ "$major" -gt "$newest_major" ]; then
		newest=$dir
		newest_major=$major
	fi
done
if [ -n "$newest" ]; then
	printf '%s\n' "$newest"
	exit 0
fi

echo "no Postgres server found: run \`make prepare\`, install the package postgresql (macOS: brew install postgresql@17)," \
	"or set POSTGRES_BIN to the folder of initdb, or TEST_DATABASE_DSN to a server that may be used for tests" >&2
exit 1
