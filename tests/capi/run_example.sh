#!/bin/sh
# Compiles one program of docs/c-api.md as a host would, and runs it.
#   run_example.sh SOURCE.c LIBRARY_FOLDER MODEL CHECKPOINT INCLUDE...
# From the environment: CC, CFLAGS.
set -eu
source=$1
libraries=$2
model=$3
checkpoint=$4
shift 4
name=$(basename "$source" .c)
includes=""
for folder in "$@"; do includes="$includes -I$folder"; done
work=$name.work  # some examples write files
rm -rf "$work"
mkdir "$work"
# shellcheck disable=SC2086  # lists of flags
${CC:-cc} -std=gnu11 -Wall -Wextra -Wpedantic -Werror -O1 ${CFLAGS:-} $includes "$source" \
  -o "$work/$name" -L"$libraries" -Wl,-rpath,"$libraries" -lsluice -lm -pthread
cd "$work"
"./$name" "$model" "$checkpoint" >output.txt
cat output.txt
[ -s output.txt ] || { echo "$name printed nothing"; exit 1; }
