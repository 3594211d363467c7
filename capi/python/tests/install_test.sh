#!/bin/sh
# The package as a user has it: libsluice installed in a fresh prefix, the wheel in a fresh virtual
# environment, and docs/python.md followed from there, nothing from the checkout in the way.
#   install_test.sh BUILD SOURCE WORK MODEL LIBDIR
set -eu
build=$1
source=$2
work=$3
model=$4
libdir=$5
rm -rf "$work"
mkdir -p "$work"

skip() {
  echo "SKIPPED: $1"
  exit 77
}
python=""
for candidate in ${SLUICE_PYTHON:-python3 /usr/bin/python3}; do
  if "$candidate" -c "import numpy" 2>/dev/null; then
    python=$candidate
    break
  fi
done
[ -n "$python" ] || skip "no Python here has numpy (on Debian: python3-numpy)"
"$python" -m venv --system-site-packages "$work/venv" >"$work/venv.log" 2>&1 ||
  skip "no virtual environments here (on Debian: python3-venv)"

"${CMAKE:-cmake}" --install "$build" --prefix "$work/prefix" >"$work/install.log"
cp -R "$source/capi/python" "$work/package"
# Nothing is fetched: setuptools has to be here already.
(cd "$work" && "$work/venv/bin/python" -m pip wheel --no-deps --no-index --no-build-isolation \
  --wheel-dir "$work" "$work/package") >"$work/wheel.log" 2>&1 || {
  grep -qE "invalid command 'bdist_wheel'|No module named|BackendUnavailable" "$work/wheel.log" &&
    skip "no setuptools and wheel here (on Debian: python3-setuptools python3-wheel)"
  cat "$work/wheel.log"
  exit 1
}
ls "$work"/sluice-*-py3-none-any.whl
"$python" -m zipfile -l "$work"/sluice-*-py3-none-any.whl | grep -q LICENSE || {
  echo "the wheel has no licence text"
  exit 1
}
"$work/venv/bin/python" -m pip install --no-deps --no-index "$work"/sluice-*.whl \
  >"$work/pip.log" 2>&1 || { cat "$work/pip.log"; exit 1; }

unset SLUICE_LIBRARY PYTHONPATH
export PKG_CONFIG_PATH="$work/prefix/$libdir/pkgconfig"
mkdir "$work/walk"
cp "$model" "$work/walk/tales-7m.flash"
cp "$source/capi/python/tests/walk.py" "$work/walk.py"
cd "$work/walk"
if [ -n "${SLUICE_PRELOAD:-}" ]; then
  export LD_PRELOAD="$SLUICE_PRELOAD"
fi
"$work/venv/bin/python" "$work/walk.py" "$work/prefix/share/doc/sluice/python.md"
