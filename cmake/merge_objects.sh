#!/bin/sh
# Links objects and archives into one object that shows sluice_* and nothing else.
#   merge_objects.sh LD NM OBJCOPY DEBUG OUT.o INPUT...
# DEBUG: what becomes of debug information, "strip" or "keep".
set -eu
ld=$1
nm=$2
objcopy=$3
debug=""
[ "$4" = keep ] || debug=--strip-debug
out=$5
shift 5

# Groups are dissolved: a local symbol in one that the host's linker drops, because the host has a
# group of the same name, would leave a hole.
"$ld" -r --force-group-allocation -o "$out.merged" --start-group "$@" --end-group

# objcopy makes no local symbols of GNU's "unique" ones, but of weak ones.
"$nm" "$out.merged" | awk '$2 == "u" { print $3 }' >"$out.unique"
# What our own code asks for only if it is there (initialisers of thread-local variables), and is
# not: nobody else's may be taken for it.
"$nm" "$out.merged" | awk '$1 ~ /^[wv]$/ && /4absl|6sluice|8nlohmann/ { print $2, "sluice_absent_" $2 }' \
  >"$out.absent"
"$objcopy" --weaken-symbols="$out.unique" --redefine-syms="$out.absent" "$out.merged" "$out.weak"
# shellcheck disable=SC2086  # one option, or none
"$objcopy" $debug --wildcard --keep-global-symbol='sluice_*' "$out.weak" "$out"
rm -f "$out.merged" "$out.weak" "$out.unique" "$out.absent"
