# Sourced by the tests that build the programs of a language's guide against an installed copy, in a
# folder with tales-7m.flash: the programs must do what the guide says. Needs $prefix and $work.

# The guide's first program writes what `sluice generate` does, which is left in $got.
#   first_program PROGRAM
first_program() {
  got=$("$1")
  expected=$("$prefix/bin/sluice" generate tales-7m.flash --max-tokens 60 --temperature 0.8 \
    --top-k 40 --seed 9 --dram-budget 64M --prompt "The old woman opened the door and" 2>/dev/null)
  first=$(printf '%s' "$got" | head -n 1)
  if [ -z "$first" ] || ! printf '%s' "$expected" | grep -qxF -- "$first"; then
    printf 'the first program wrote:\n%s\nexpected:\n%s\n' "$got" "$expected"
    exit 1
  fi
}

# The others succeed and write something.
#   other_programs STEM FIRST LAST
other_programs() {
  guide=$2
  while [ "$guide" -le "$3" ]; do
    "$1$guide" >"$work/guide_$guide.log" || {
      cat "$work/guide_$guide.log"
      echo "program $guide of the guide failed"
      exit 1
    }
    [ -s "$work/guide_$guide.log" ] || { echo "program $guide of the guide is silent"; exit 1; }
    guide=$((guide + 1))
  done
}
