#!/bin/sh
# Installs what building and testing Sluice needs on Debian 12 and 13 (and relatives), as root or
# with sudo. Does nothing where all of it is there already.
set -eu

packages="build-essential cmake ninja-build pkg-config git
  libabsl-dev libcli11-dev libeigen3-dev libhwy-dev liburing-dev libxxhash-dev
  libzip-dev nlohmann-json3-dev catch2 libbenchmark-dev python3
  abigail-tools
  python3-numpy python3-pytest python3-setuptools python3-venv python3-wheel"

# For the crates in capi/rust; a Rust of another origin does as well.
command -v cargo >/dev/null 2>&1 || packages="$packages cargo rustc"

missing=""
for package in $packages; do
  if ! dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed; then
    missing="$missing $package"
  fi
done
[ -n "$missing" ] || exit 0

as_root="env"
if [ "$(id -u)" -ne 0 ]; then
  as_root="sudo env"  # sudo itself would drop the variable below
fi
$as_root DEBIAN_FRONTEND=noninteractive apt-get update -qq
# shellcheck disable=SC2086  # a list of words
$as_root DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
