#!/bin/sh
# Builds the Swift package against an installed Sluice and runs its tests. Exit status 77: there is
# no Swift here, nothing was tested.
#   run_tests.sh PREFIX MODEL WORK
# PREFIX is what `cmake --install BUILD --prefix PREFIX` has filled, or a build folder, which is then
# installed below WORK; MODEL is a bundle file; WORK is a folder for what is built.
set -eu
if [ $# -ne 3 ]; then
  echo "usage: $0 PREFIX MODEL WORK" >&2
  exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
if ! command -v swift >/dev/null 2>&1; then
  echo "SKIPPED: no swift"
  exit 77
fi
mkdir -p "$3"
work=$(cd "$3" && pwd)
prefix=$(cd "$1" && pwd)
SLUICE_TEST_MODEL=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
export SLUICE_TEST_MODEL
[ -f "$SLUICE_TEST_MODEL" ] || { echo "no model at $SLUICE_TEST_MODEL"; exit 1; }

if [ -f "$prefix/CMakeCache.txt" ]; then
  "${CMAKE:-cmake}" --install "$prefix" --prefix "$work/prefix" >"$work/install.log"
  prefix=$work/prefix
fi
pc=$(find "$prefix" -name sluice.pc | head -n 1)
[ -n "$pc" ] || { echo "no sluice.pc below $prefix"; exit 1; }
PKG_CONFIG_PATH=$(dirname "$pc")${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
export PKG_CONFIG_PATH
libdir=$(dirname "$(dirname "$pc")")

# The library is found again when the tests run.
exec swift test --package-path "$here" --scratch-path "$work/swift" \
  -Xlinker -rpath -Xlinker "$libdir"
