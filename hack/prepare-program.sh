#!/bin/sh
# Installs a program that tests run, unless it is present. It starts no server: test/testenv starts one in a temporary folder on
# a free port.
#
#   prepare-program.sh PROGRAM   a program of find-program.sh whose Debian package has the same name
set -eu

program=$1
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

if path=$("$here/find-program.sh" "$program" 2>/dev/null); then
	echo "$program: $path"
	exit 0
fi

given=$(printenv "$(printf '%s' "$program" | tr '[:lower:]' '[:upper:]')" || true)
if [ -n "$given" ] || [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
	"$here/find-program.sh" "$program" # prints what is missing
	exit 1
fi

case $program in
patroni) "$here/install-package.sh" patroni python3-etcd ;; # without it, Patroni cannot use etcd
*) "$here/install-package.sh" "$program" ;;
esac

# Stop the server that the package starts. No other can be running, since its program was missing.
service "$program" stop >/dev/null 2>&1 || true

echo "$program: $("$here/find-program.sh" "$program")"
