#!/bin/sh
# Sees to it that there is a program that tests run. Only its presence matters here; who needs a server starts one of his own,
# in a temporary folder on a free port (test/testenv).
#
#   prepare-program.sh PROGRAM   what find-program.sh looks for, and where Debian's package has the same name
set -eu

program=$1
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

if path=$("$here/find-program.sh" "$program" 2>/dev/null); then
	echo "$program: $path"
	exit 0
fi

given=$(printenv "$(printf '%s' "$program" | tr '[:lower:]' '[:upper:]')" || true)
if [ -n "$given" ] || [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
	"$here/find-program.sh" "$program" # says what is missing
	exit 1
fi

"$here/install-package.sh" "$program"

# The package starts a server of its own. Nobody asked for that one, and none can have run before without its program.
service "$program" stop >/dev/null 2>&1 || true

echo "$program: $("$here/find-program.sh" "$program")"
