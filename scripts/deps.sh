#!/bin/sh
# Installs the Debian packages that building, testing and the demo need. Does nothing, and needs no network, when all
# are there. Exit code 1 when something is missing and cannot be installed.
set -eu

packages="build-essential cmake ninja-build pkg-config
  lua5.4 liblua5.4-dev libhdf5-dev libjansson-dev libxxhash-dev librandom123-dev zlib1g-dev libzstd-dev libcmocka-dev
  openmpi-bin libopenmpi-dev
  gnuplot-nox python3-h5py"

fail() {
    echo "deps.sh: $*" >&2
    exit 1
}

command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
    fail "no apt here; install the equivalents of these Debian packages by hand:" $packages

# pkg-config may be provided by pkgconf, so ask for the command.
missing=""
for package in $packages; do
    case $package in
    pkg-config) command -v pkg-config >/dev/null && continue ;;
    esac
    status=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null) || status=""
    case $status in
    ?i*) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    root=""
else
    command -v sudo >/dev/null || fail "missing, and neither root nor sudo to install them:$missing"
    root=sudo
fi
echo "deps.sh: installing$missing" >&2
$root apt-get update -qq || fail "apt-get update failed (no network?); still missing:$missing"
$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing ||
    fail "apt-get install failed; still missing:$missing"
