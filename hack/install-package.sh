#!/bin/sh
# Installs one of Debian's packages, and says no more than that unless it fails.
#
#   install-package.sh PACKAGE
set -eu

package=$1
echo "$package: not found; installing Debian's package, a minute at most..."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update && apt-get install -y --no-install-recommends "$package"; } >"$log" 2>&1 </dev/null; then
	tail -n 20 "$log" >&2
	echo "$package: the package could not be installed; install it by hand" >&2
	exit 1
fi
