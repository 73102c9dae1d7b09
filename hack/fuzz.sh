#!/usr/bin/env bash
# Runs every fuzz target that there is, one after the other, and shares out a time among them: a crasher fails the run, once
# all have had their turn. Building does not count.
#
#   hack/fuzz.sh [TIME]   s, m or h; an hour by default. Each target has a second at least
#
# New inputs that reach new code go to Go's cache, from which the next run goes on; crashers to the package's testdata.
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

# out_of_time LOG: up to Go 1.26, the end of the time itself is sometimes taken for a failure (golang/go#75804), of which nothing
# but that is said.
out_of_time() {
	grep -A1 '^--- FAIL: ' "$1" | grep -qx '    context deadline exceeded' && ! grep -q 'Failing input written\|panic:\|failure while testing' "$1"
}

if ! total=$(seconds_of "$time"); then
	echo "fuzz: '$time' is no time: write 60s, 10m or 1h" >&2
	exit 2
fi

# Of the packages, only those whose tests have a target in them are worth building: go test -list builds each.
# shellcheck disable=SC2016 # a template of Go's
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
	echo "fuzz: there is no target" >&2
	exit 1
fi
# What whole seconds leave over goes to the first ones.
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

# One binary for all targets of a package, in which only our code and the parsers behind it lead the fuzzer. go test -fuzz
# would have all that tests import do so, Kubernetes among it: it takes minutes to build, and is up to a hundred times slower.
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
		echo "fuzz: $name FAILED. Its input is in ${folder#"$PWD"/}/testdata/fuzz/$name, unless one of its seeds was it." >&2
		echo "      To see it again: go test $package -run '^$name\$'. Mend it, and commit the input with that." >&2
	done
	exit 1
fi
