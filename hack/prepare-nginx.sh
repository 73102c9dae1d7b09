#!/bin/sh
# Sees to it that there is an nginx for the tests of examples/gateways. Only its presence matters here; who needs a server
# starts one of his own, in a temporary folder on a free port (test/testenv).
#
#   NGINX   the path of the program, when it is none of the usual ones
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

if path=$("$here/find-nginx.sh" 2>/dev/null); then
	echo "nginx: $path"
	exit 0
fi

if [ -n "${NGINX:-}" ] || [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
	"$here/find-nginx.sh" # says what is missing
	exit 1
fi

"$here/install-package.sh" nginx

# The package starts a server of its own. Nobody asked for that one, and none can have run before without its program.
service nginx stop >/dev/null 2>&1 || true

echo "nginx: $("$here/find-nginx.sh")"
