#!/bin/sh
# Prints the path of a program that tests run, or fails with an instruction. The scripts here and test/testenv both run it, so
# that they agree. (find-postgres.sh finds Postgres, which is installed in more places.)
#
#   find-program.sh nginx|pgbouncer|prometheus|promtool|patroni|patronictl|haproxy
#
#   NGINX, PGBOUNCER, PROMETHEUS, PROMTOOL, ...   the path, if it is not one of the usual ones
set -eu

name=$1
variable=$(printf '%s' "$name" | tr '[:lower:]' '[:upper:]')
case $name in
promtool) package=prometheus ;; # it comes with the server
patronictl) package=patroni ;;
*) package=$name ;;
esac

given=$(printenv "$variable" || true)
if [ -n "$given" ]; then
	if [ -x "$given" ] && [ ! -d "$given" ]; then
		printf '%s\n' "$given"
		exit 0
	fi
	echo "$variable is $given, which is not a program" >&2
	exit 1
fi

# Debian installs some programs outside the PATH of users other than root.
PATH="$PATH:/usr/sbin:/usr/local/sbin:/opt/homebrew/bin"
if command -v "$name"; then
	exit 0
fi

echo "no $name found: run \`make prepare\`, install the package $package (macOS: brew install $package)," \
	"or set $variable to the path of the program" >&2
exit 1
