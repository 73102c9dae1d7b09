#!/usr/bin/env bash
# Runs a command that generates files, and fails if it changed, created or deleted a file that is not ignored. It ignores earlier
# uncommitted changes, so that it works on a dirty tree as well as in CI.
#
#   hack/verify.sh make generate
set -euo pipefail

cd -- "$(dirname -- "$0")/.."
before=$(mktemp)
after=$(mktemp)
trap 'rm -f "$before" "$after"' EXIT

# Print a line for each file that is not ignored, with the hash of its content.
snapshot() {
	git ls-files --cached --others --exclude-standard -z | sort -z -u | while IFS= read -r -d '' file; do
		if [ -f "$file" ]; then
			printf '%s %s\n' "$(git hash-object --no-filters -- "$file")" "$file"
		fi
	done
}

snapshot >"$before"
"$@"
snapshot >"$after"
if ! diff "$before" "$after" >/dev/null; then
	git --no-pager diff --stat >&2
	echo "generated files are out of date; these changed, run \`make generate\` and commit them:" >&2
	diff "$before" "$after" | sed -n 's/^[<>] [0-9a-f]* /  /p' | sort -u >&2
	exit 1
fi
