#!/bin/sh
# Installs Debian packages, and prints the output of apt only if it fails.
#
#   install-package.sh PACKAGE...
set -eu

package=$1
echo "$package: not found; installing the Debian package, which takes up to a minute..."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update && apt-get install -y --no-install-recommends "$@"; } >"$log" 2>&1 </dev/null; then
	tail -n 20 "$log" >&2
	echo "$package: cannot install the package; install it by hand" >&2
	exit 1
fi
