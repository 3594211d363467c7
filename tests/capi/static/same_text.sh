#!/bin/sh
# Two programs write the same text, which is not empty.
#   same_text.sh PROGRAM OTHER MODEL
set -eu
prompt="The old woman opened the door and"
first=$("$1" "$3" "$prompt")
second=$("$2" "$3" "$prompt")
[ -n "$first" ] || { echo "$1 wrote nothing"; exit 1; }
if [ "$first" != "$second" ]; then
  printf '%s wrote:\n%s\n%s wrote:\n%s\n' "$1" "$first" "$2" "$second"
  exit 1
fi
echo "the same text"
