#!/bin/sh
# Builds the Swift package against an installed Sluice and runs its tests. A warning is a failure.
# Exit status 77: there is no Swift here, nothing was tested.
#   run_tests.sh PREFIX MODEL WORK
# PREFIX is what `cmake --install BUILD --prefix PREFIX` has filled, or a build folder, which is
# then installed below WORK; MODEL is a bundle file; WORK is a folder for what is built.
set -eu
# shellcheck source=installed.sh
. "$(dirname "$0")/installed.sh"
export SLUICE_TEST_MODEL="$model"
SLUICE_TEST_CHECKPOINT=$(cd "$here/../../examples/models/tales-7m" && pwd)
export SLUICE_TEST_CHECKPOINT

swift_in_work test "$here" -Xswiftc -warnings-as-errors -Xswiftc -strict-concurrency=complete
