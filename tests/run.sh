#!/bin/sh
# Sets up, builds and runs every test: once as it ships, then under the address and
# undefined-behaviour sanitizers and under the thread sanitizer. Ends with ctest's counts.
#   SLUICE_PRESETS="release" sh tests/run.sh     just that
set -eu
cd "$(dirname "$0")/.."
sh cmake/setup-debian.sh
werror=OFF
[ -z "${CI:-}" ] || werror=ON  # a newer compiler's new warning should not stop a user
summary=""
failed=0
for preset in ${SLUICE_PRESETS:-release asan tsan}; do
  echo "== $preset"
  cmake --preset "$preset" -DSLUICE_BUILD_TESTS=ON -DSLUICE_WERROR=$werror >/dev/null
  cmake --build --preset "$preset"
  log="build/$preset/ctest.log"
  ctest --preset "$preset" >"$log" 2>&1 || failed=1
  cat "$log"
  summary="$summary
$preset: $(grep -E 'tests passed' "$log" || echo 'no test was run')"
done
echo "$summary"
exit $failed
