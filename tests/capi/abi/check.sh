#!/bin/sh
# The ABI is the recorded one, or that with more functions.
#   check.sh LIBRARY
# 77: skipped.
here=$(dirname "$0")
if ! command -v abidiff >/dev/null 2>&1; then
  echo "SKIPPED: abidiff is missing (apt-get install abigail-tools): nobody compares the ABI"
  exit 77
fi
if abidiff --no-added-syms "$here/libsluice.abi" "$1"; then
  echo "no function is gone, no type has changed"
  exit 0
fi
echo "The ABI differs from tests/capi/abi/libsluice.abi. Unless all there is to it are members at"
echo "the end of structs that carry their size, hosts that are compiled would break; see docs/ABI.md"
exit 1
