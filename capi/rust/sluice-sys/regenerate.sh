#!/bin/sh
# Makes src/bindings.rs from the C headers: run it after every change of them. It takes bindgen
# 0.60.1, which is Debian 12's:
#   apt-get install --no-install-recommends bindgen libclang-dev
#   regenerate.sh [OUTPUT]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
output=${1:-$here/src/bindings.rs}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# sluice.h is configured by CMake; here the same is done without a build folder.
version=$(sed -n 's/^project(sluice VERSION \([0-9.]*\).*/\1/p' "$root/CMakeLists.txt")
abi=$(sed -n 's/^set(SLUICE_ABI \([0-9]*\)).*/\1/p' "$root/CMakeLists.txt")
major=${version%%.*}
rest=${version#*.}
sed -e "s/@PROJECT_VERSION_MAJOR@/$major/" -e "s/@PROJECT_VERSION_MINOR@/${rest%%.*}/" \
  -e "s/@PROJECT_VERSION_PATCH@/${rest#*.}/" -e "s/@PROJECT_VERSION@/$version/" \
  -e "s/@SLUICE_ABI@/$abi/" "$root/capi/include/sluice.h.in" >"$work/sluice.h"
cp "$root/capi/include/sluice_tools.h" "$root/capi/include/sluice_backend.h" "$work"
printf '#include "sluice.h"\n#include "sluice_tools.h"\n#include "sluice_backend.h"\n' \
  >"$work/all.h"

# rustfmt's own style, whatever folder this runs in.
: >"$work/rustfmt.toml"

# -fparse-all-comments: the headers' comments become the documentation of the bindings.
bindgen "$work/all.h" --output "$output" --rust-target 1.47 --size_t-is-usize \
  --rustfmt-configuration-file "$work/rustfmt.toml" \
  --allowlist-function 'sluice_.*' --allowlist-type 'sluice_.*' --allowlist-var 'SLUICE_.*' \
  --default-enum-style consts --with-derive-default \
  -- -std=c11 -fparse-all-comments -I "$work"
