#!/bin/sh
# Sets up, builds, converts the model that comes with Sluice, trains its predictors and lets it
# write, with the feed-forward weights read from disk as each token needs them.
set -eu
cd "$(dirname "$0")/.."
sh cmake/setup-debian.sh
cmake --preset release -DSLUICE_BUILD_TESTS=OFF >/dev/null
cmake --build --preset release

sluice=build/release/examples/sluice/sluice
model=build/release/tales-7m.flash
tales=examples/models/tales-7m
# Also when the program or the checkpoint is newer than what it was converted to.
if [ ! -f "$model" ] || [ -n "$(find "$sluice" "$tales" -type f -newer "$model")" ]; then
  echo "Converting $tales and training its predictors (a minute or two) ..."
  "$sluice" convert "$tales" "$model" --calibration "$tales/calibration.txt"
fi
# A quarter of the feed-forward weights fit into the slots that this budget buys.
budget=$("$sluice" plan "$model" --json --context 256 | python3 -c '
import json, sys
plan = json.load(sys.stdin)
slots = sum(plan["records_per_layer"]) * plan["record_bytes"]
print(sum(plan["plan"].values()) - plan["plan"]["slots"] + slots // 4)')
echo
"$sluice" generate "$model" --prompt "The old woman opened the door and" --max-tokens 120 \
  --temperature 0.8 --top-k 40 --seed 9 --context 256 --dram-budget "$budget"
