#!/bin/sh
# Records the C ABI as it is now, and prints what is new. To be run when something was added to it,
# and only then (docs/ABI.md).
#   record.sh BUILD      the folder of a build with tests; `capi_abi` in it must be up to date
set -eu
build=$1
here=$(cd "$(dirname "$0")" && pwd)
recorded=$here/libsluice.abi
now=$(mktemp)
trap 'rm -f "$now"' EXIT
# No paths, lines or numbers that would differ from one checkout to the next.
abidw --exported-interfaces-only --no-elf-needed --no-corpus-path --no-comp-dir-path \
  --no-show-locs --short-locs --type-id-style hash --out-file "$now" \
  "$build/tests/capi/abi/libsluice.so"
if [ -f "$recorded" ]; then
  abidiff "$recorded" "$now" && echo "nothing is new" || true
fi
cp "$now" "$recorded"
