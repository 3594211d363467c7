#!/bin/sh
# Runs the package's tests with the first Python that has what they need; 77, skipped, where none
# has.
#   run.sh SOURCE LIBRARY MODEL INCLUDE MODULES PYTEST_ARGUMENTS...
# MODULES: what Python must be able to import, in words. From the environment: CC, and SLUICE_PYTHON,
# the Python to take; SLUICE_PRELOAD, what a sanitized library needs in front of everything else.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
SLUICE_TEST_SOURCE=$1
SLUICE_LIBRARY=$2
SLUICE_TEST_MODEL=$3
SLUICE_TEST_INCLUDE=$4
modules=$5
shift 5
export SLUICE_TEST_SOURCE SLUICE_LIBRARY SLUICE_TEST_MODEL SLUICE_TEST_INCLUDE
export PYTHONDONTWRITEBYTECODE=1
PYTHONPATH=$here${PYTHONPATH:+:$PYTHONPATH}
export PYTHONPATH

for python in ${SLUICE_PYTHON:-python3 /usr/bin/python3}; do
  imports=$(echo "$modules" | sed 's/ /, /g')
  if "$python" -c "import $imports" 2>/dev/null; then
    cd "$SLUICE_TEST_SOURCE"
    set -- -p all_skipped -p no:cacheprovider "$@"
    if [ -n "${SLUICE_PRELOAD:-}" ]; then
      exec env LD_PRELOAD="$SLUICE_PRELOAD" "$python" -m pytest "$@"
    fi
    exec "$python" -m pytest "$@"
  fi
done
echo "SKIPPED: no Python here has all of: $modules" \
  "(numpy and pytest are Debian's python3-numpy and python3-pytest)"
exit 77
