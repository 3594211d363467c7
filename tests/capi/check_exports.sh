#!/bin/sh
# The library, shared or static, shows what exported_symbols.txt lists, and nothing else.
#   check_exports.sh NM LIBRARY LIST
set -eu
nm=$1
library=$2
list=$3
case $library in
  *.a) table="" ;;   # global symbols
  *) table=-D ;;     # dynamic ones
esac
# A version script's node is an absolute symbol; names carry @@NODE.
found=$("$nm" $table -g --defined-only "$library" |
  awk 'NF == 3 && $2 != "A" { sub(/@.*/, "", $3); print $3 }' | LC_ALL=C sort)
# First: did nm see anything at all? An empty answer must not pass as "nothing superfluous".
if ! printf '%s\n' "$found" | grep -qx sluice_model_open; then
  echo "nm does not show sluice_model_open in $library: this check sees nothing"
  exit 1
fi
wanted=$(LC_ALL=C sort "$list")
if [ "$found" != "$wanted" ]; then
  echo "exported symbols differ from $list; exported are:"
  printf '%s\n' "$found"
  exit 1
fi
# An archive takes from outside what is not its own.
if [ -z "$table" ] && "$nm" -u "$library" | grep -E '4absl|6sluice|8nlohmann|XXH|io_uring' |
  grep -v ' sluice_absent_'
then
  echo "$library leaves these for its host to define"
  exit 1
fi
echo "$(printf '%s\n' "$found" | wc -l) symbols, as listed"
