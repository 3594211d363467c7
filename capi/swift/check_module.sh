#!/bin/sh
# Without a Swift compiler: does clang, on whose importer Swift relies, take the module map, and is
# every C name that the Swift sources use declared by that module? Exit status 77: no clang.
#   check_module.sh WORK INCLUDE...
# INCLUDE are the folders with sluice.h and its companions.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$1
shift
clang=${CLANG:-clang}
if ! command -v "$clang" >/dev/null 2>&1; then
  echo "SKIPPED: no clang"
  exit 77
fi
flags=""
for include in "$@"; do flags="$flags -I$include"; done
rm -rf "$work"
mkdir -p "$work"
names=$(grep -ohE '\b(sluice|SLUICE)_[A-Za-z0-9_]+' "$here"/Sources/Sluice/*.swift | sort -u)
[ "$(echo "$names" | wc -l)" -ge 40 ] || { echo "too few C names were found"; exit 1; }

# Types, functions and constants alike: each has a type.
check() {
  {
    echo "@import CSluice;"
    for name in $1; do echo "typedef __typeof__($name) check_$name;"; done
  } >"$work/$2.m"
  # shellcheck disable=SC2086  # a list of flags
  "$clang" -x objective-c -std=c11 -Wall -Wextra -Werror -fmodules -fsyntax-only \
    -fmodules-cache-path="$work/cache" \
    -fmodule-map-file="$here/Sources/CSluice/module.modulemap" $flags "$work/$2.m"
}
check "$names" names
if check sluice_no_such_name wrong 2>/dev/null; then
  echo "a name that does not exist passed"
  exit 1
fi
echo "$(echo "$names" | wc -l) names are in the module"
