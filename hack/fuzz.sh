#!/usr/bin/env bash
# Runs all fuzz targets one by one, and divides a time among them. A crash fails the run after all targets ran. The time excludes
# builds.
#
#   hack/fuzz.sh [TIME]   in s, m or h; 1h by default. Each target runs for at least 1 s
#
# Inputs that reach new code are kept in Go's cache for the next run; inputs that crash, in the testdata of the package.
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
time=${1:-1h}
folders=(./api/... ./internal/... ./cmd/...)
[[ $# -le 1 ]] || {
	echo "usage: hack/fuzz.sh [TIME]" >&2
	exit 2
}

seconds_of() {
	local number=${1%[smh]}
	[[ $number =~ ^[1-9][0-9]{0,6}$ ]] || return 1
	case $1 in
	*h) echo $((number * 3600)) ;;
	*m) echo $((number * 60)) ;;
	*s) echo "$number" ;;
	*) return 1 ;;
	esac
}

# out_of_time LOG: succeeds if the only failure is the end of the time, which Go up to 1.26 sometimes reports as one
# (golang/go#75804).
out_of_time() {
	grep -A1 '^--- FAIL: ' "$1" | grep -qx '    context deadline exceeded' && ! grep -q 'Failing input written\|panic:\|failure while testing' "$1"
}

if ! total=$(seconds_of "$time"); then
	echo "fuzz: '$time' is not a time: write 60s, 10m or 1h" >&2
	exit 2
fi

# Find the packages with targets by their files, since go test -list would build every package.
# shellcheck disable=SC2016 # a Go template
files='{{$p := .}}{{range .TestGoFiles}}{{$p.ImportPath}} {{$p.Dir}}/{{.}}{{"\n"}}{{end}}'
# shellcheck disable=SC2016
files+='{{range .XTestGoFiles}}{{$p.ImportPath}} {{$p.Dir}}/{{.}}{{"\n"}}{{end}}'
packages=()
while IFS= read -r package; do packages+=("$package"); done < <(
	go list -f "$files" "${folders[@]}" | while read -r package file; do
		if [[ -n $file ]] && grep -q '^func Fuzz' "$file"; then echo "$package"; fi
	done | sort -u
)

targets=() # "package name"
for package in ${packages[@]+"${packages[@]}"}; do
	listed=$(go test -list '^Fuzz' "$package") || {
		printf '%s\n' "$listed" >&2
		exit 1
	}
	while IFS= read -r name; do
		case $name in Fuzz*) targets+=("$package $name") ;; esac
	done <<<"$listed"
done

count=${#targets[@]}
if ((count == 0)); then
	echo "fuzz: no targets found" >&2
	exit 1
fi
# The first targets get the remaining seconds.
each=$((total / count))
over=$((total % count))
if ((each == 0)); then
	each=1
	over=0
fi
echo "fuzz: $count targets in ${#packages[@]} packages, $each s each and $over s more"

began=$SECONDS
failed=()
binaries=$(mktemp -d)
trap 'rm -rf "$binaries"' EXIT

# Build one binary for all targets of a package, with coverage instrumentation only in our code and its parsers. go test -fuzz
# would instrument all imports of the tests, including Kubernetes: that takes minutes to build, and runs up to 100 times slower.
module=$(go list -m)
guides=()
for pattern in "$module/..." github.com/jackc/pgx/... github.com/golang-jwt/jwt/...; do
	guides+=("-gcflags=$pattern=-d=libfuzzer")
done
built=''
for target in "${targets[@]}"; do
	read -r package name <<<"$target"
	if [[ $package != "$built" ]]; then
		go test -c "${guides[@]}" -o "$binaries/test" "$package"
		built=$package
		folder=$(go list -f '{{.Dir}}' "$package")
		cache=$(go env GOCACHE)/fuzz/$package
		mkdir -p "$cache"
	fi
	seconds=$each
	if ((over > 0)); then
		seconds=$((seconds + 1))
		over=$((over - 1))
	fi
	printf '\nfuzz: %s of %s, %d s\n' "$name" "$package" "$seconds"
	if ! (cd -- "$folder" && "$binaries/test" -test.run='^$' -test.fuzz="^$name\$" -test.fuzztime="${seconds}s" \
		-test.fuzzminimizetime=10s -test.parallel=2 -test.fuzzcachedir="$cache" -test.timeout=0) 2>&1 | tee "$binaries/log"; then
		out_of_time "$binaries/log" || failed+=("$target")
	fi
done

printf '\nfuzz: %d targets in %d s, building included\n' "$count" $((SECONDS - began))
if ((${#failed[@]} > 0)); then
	for target in "${failed[@]}"; do
		read -r package name <<<"$target"
		folder=$(go list -f '{{.Dir}}' "$package")
		echo "fuzz: $name FAILED. Its input is in ${folder#"$PWD"/}/testdata/fuzz/$name, unless it is one of the seeds." >&2
		echo "      To reproduce it: go test $package -run '^$name\$'. Commit the input with the fix." >&2
	done
	exit 1
fi
