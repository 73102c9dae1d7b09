#!/bin/sh
# Prints the path of a program that tests run, or fails with a sentence that says what to do. The scripts here and
# test/testenv both ask this one, so that they always agree. (Postgres has a script of its own: it is looked for in more
# places.)
#
#   find-program.sh nginx|pgbouncer|prometheus|promtool
#
#   NGINX, PGBOUNCER, PROMETHEUS, PROMTOOL   that path, when it is none of the usual ones
set -eu

name=$1
variable=$(printf '%s' "$name" | tr '[:lower:]' '[:upper:]')
case $name in
promtool) package=prometheus ;; # it comes with the server
*) package=$name ;;
esac

given=$(printenv "$variable" || true)
if [ -n "$given" ]; then
	if [ -x "$given" ] && [ ! -d "$given" ]; then
		printf '%s\n' "$given"
		exit 0
	fi
	echo "$variable is $given, which is no program" >&2
	exit 1
fi

# Debian keeps some off the PATH of people who are not root.
PATH="$PATH:/usr/sbin:/usr/local/sbin:/opt/homebrew/bin"
if command -v "$name"; then
	exit 0
fi

echo "no $name found: run \`make prepare\`, install the package $package (macOS: brew install $package)," \
	"or set $variable to the path of the program" >&2
exit 1
