#!/usr/bin/env bash
# Runs the gate several times with a second load on every core, to find tests that depend on an idle machine. It prints a table
# of the runs, and keeps their output in bin/gate.
#
#   hack/repeat-gate.sh [TIMES [COMMAND...]]   ten times .ci/run by default
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
times=${1:-10}
shift $(($# > 0 ? 1 : 0))
command=("$@")
((${#command[@]} > 0)) || command=(.ci/run)
logs=bin/gate
mkdir -p "$logs"

# End the processes of the second load with this script.
loads=()
trap 'kill "${loads[@]}" 2>/dev/null || true' EXIT
cores=$(getconf _NPROCESSORS_ONLN)
for ((core = 0; core < cores; core++)); do
	(while :; do :; done) &
	loads+=($!)
done

failures=0
printf '%-4s %-8s %8s   %s\n' run result seconds failed
for ((run = 1; run <= times; run++)); do
	started=$SECONDS
	result=passed
	"${command[@]}" >"$logs/$run.log" 2>&1 || result=FAILED
	failed=''
	if [[ $result == FAILED ]]; then
		failures=$((failures + 1))
		failed=$(sed -n 's/^ *--- FAIL: \([^ ]*\).*/\1/p' "$logs/$run.log" | sort -u | tr '\n' ' ')
	fi
	printf '%-4d %-8s %8d   %s\n' "$run" "$result" $((SECONDS - started)) "$failed"
done
echo "$failures of $times runs failed; their output is in $logs; the second load was one process on each of $cores cores"
((failures == 0))
