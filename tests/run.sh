#!/bin/sh
# Sets up, builds and runs every test: once as it ships, then all of them under the address and
# undefined-behaviour sanitizers, and those with threads under the thread sanitizer. Ends with
# ctest's counts, skipped tests named.
#   SLUICE_PRESETS="release" sh tests/run.sh     just that
set -eu
cd "$(dirname "$0")/.."
sh cmake/setup-debian.sh
werror=OFF
[ -z "${CI:-}" ] || werror=ON  # a newer compiler's new warning should not stop a user

# What runs on several threads; the rest would only take its time under the thread sanitizer.
threaded="base_test io_engine_test io_host_engine_test io_uring_test io_batch_reader_test
  kernels_test bundle_loader_test bundle_loader_fault_test same_bits_test session_test train_test
  session_life_test weight_backend_fault_test
  capi_handles_test capi_make_predictors_model capi_test"

summary=""
failed=0
for preset in ${SLUICE_PRESETS:-release asan tsan}; do
  echo "== $preset"
  bench=OFF
  targets=""
  tests=""
  case $preset in
    release) bench=ON ;;  # built, so that it cannot rot
    tsan)
      targets="--target sluice_program $threaded"
      tests="-R ^($(echo $threaded | tr ' ' '|')|capi_make_model)\$"
      ;;
  esac
  cmake --preset "$preset" -DSLUICE_BUILD_TESTS=ON -DSLUICE_BUILD_BENCH=$bench \
    -DSLUICE_WERROR=$werror >/dev/null
  # shellcheck disable=SC2086  # lists of words
  cmake --build --preset "$preset" $targets
  log="build/$preset/ctest.log"
  # shellcheck disable=SC2086
  ctest --preset "$preset" $tests >"$log" 2>&1 || failed=1
  cat "$log"
  summary="$summary
$preset: $(grep -E 'tests passed' "$log" || echo 'no test was run')
$(grep -E '\*\*\*(Skipped|Failed|Not Run|Timeout|Exception)' "$log" || true)"
done

# The library also builds without io_uring; reads then go through threads.
echo "== without io_uring"
cmake -S . -B build/no-uring -G Ninja -DCMAKE_BUILD_TYPE=Release -DSLUICE_WITH_URING=OFF \
  -DSLUICE_WERROR=$werror >/dev/null
cmake --build build/no-uring --target io_probing_test session_test
for test in io/io_probing_test model/session_test; do
  if "build/no-uring/tests/unit/$test" >"build/no-uring/$(basename $test).log" 2>&1; then
    summary="$summary
without io_uring: $test passed"
  else
    cat "build/no-uring/$(basename $test).log"
    summary="$summary
without io_uring: $test FAILED"
    failed=1
  fi
done
echo "$summary"
exit $failed
