#!/bin/sh
# Prints the path of nginx, or fails with a sentence that says what to do. The scripts here and test/testenv both ask this
# one, so that they always agree.
#
#   NGINX   that path, when it is none of the usual ones
set -eu

if [ -n "${NGINX:-}" ]; then
	if [ -x "$NGINX" ] && [ ! -d "$NGINX" ]; then
		printf '%s\n' "$NGINX"
		exit 0
	fi
	echo "NGINX is $NGINX, which is no program" >&2
	exit 1
fi

# Debian keeps it off the PATH of people who are not root.
PATH="$PATH:/usr/sbin:/usr/local/sbin:/opt/homebrew/bin"
if command -v nginx; then
	exit 0
fi

echo "no nginx found: run \`make prepare\`, install the package nginx (macOS: brew install nginx)," \
	"or set NGINX to the path of the program" >&2
exit 1
