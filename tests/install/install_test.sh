#!/bin/sh
# Installs a build into a fresh prefix, moves it, and builds and runs the examples against it: with
# find_package and with pkg-config, shared and static.
#   install_test.sh BUILD SOURCE WORK MODEL LIBDIR
# From the environment: CC, CXX, CFLAGS, CXXFLAGS, LDFLAGS, CMAKE, CMAKE_GENERATOR.
set -eu
build=$1
source=$2
work=$3
model=$4
libdir=$5
cmake=${CMAKE:-cmake}
prefix=$work/prefix
prompt="The old woman opened the door and"

rm -rf "$work"
mkdir -p "$work"
"$cmake" --install "$build" --prefix "$work/before-the-move" >"$work/install.log"
mv "$work/before-the-move" "$prefix" # an installed tree may be moved

expected=$("$prefix/bin/sluice" generate "$model" --prompt "$prompt" --max-tokens 60 \
  --context 256 2>/dev/null)
[ -n "$expected" ] || { echo "the installed program generates nothing"; exit 1; }

# The text that a program writes is the installed program's.
check() {
  got=$("$1" "$model" "$prompt")
  if ! printf '%s' "$expected" | grep -qF -- "$(printf '%s' "$got" | head -n 1)" || [ -z "$got" ]
  then
    printf '%s wrote:\n%s\nexpected:\n%s\n' "$1" "$got" "$expected"
    exit 1
  fi
  echo "ran $1"
}

# The FFN layers alone: by its status the program says that rows give what the layer does, here
# with slots for a part of them.
check_backend() {
  "$1" "$model" 3 6 || { echo "$1 failed"; exit 1; }
  echo "ran $1"
}

project() {
  "$cmake" -S "$source/tests/install/$1" -B "$work/$1" -DCMAKE_PREFIX_PATH="$prefix" \
    -DSLUICE_EXAMPLES="$source/examples" -DCMAKE_BUILD_TYPE=Release >"$work/$1.log"
  "$cmake" --build "$work/$1" >>"$work/$1.log" || { cat "$work/$1.log"; exit 1; }
}
project consumer
check "$work/consumer/generate_c"
check "$work/consumer/generate_cc"
project c_only
check "$work/c_only/generate_c"
check_backend "$work/c_only/ffn_backend"
if [ -f "$prefix/$libdir/libsluice.a" ]; then
  project c_static
  check "$work/c_static/generate_c"
  check_backend "$work/c_static/ffn_backend"
fi

export PKG_CONFIG_PATH="$prefix/$libdir/pkgconfig"
LD_LIBRARY_PATH="$prefix/$libdir${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export LD_LIBRARY_PATH
# shellcheck disable=SC2046,SC2086  # lists of flags
${CC:-cc} -std=c11 ${CFLAGS:-} "$source/examples/generate.c" -o "$work/pkg_c" \
  $(pkg-config --cflags --libs sluice) ${LDFLAGS:-}
check "$work/pkg_c"
# shellcheck disable=SC2046,SC2086
${CC:-cc} -std=c11 ${CFLAGS:-} "$source/examples/ffn_backend.c" -o "$work/pkg_ffn" \
  $(pkg-config --cflags --libs sluice) -lm ${LDFLAGS:-}
check_backend "$work/pkg_ffn"
# shellcheck disable=SC2046,SC2086
${CXX:-c++} -std=c++20 ${CXXFLAGS:-} "$source/examples/generate.cc" -o "$work/pkg_cc" \
  $(pkg-config --cflags --libs sluice-cpp) ${LDFLAGS:-}
check "$work/pkg_cc"
if [ -f "$prefix/$libdir/libsluice.a" ]; then
  # shellcheck disable=SC2046,SC2086
  ${CC:-cc} -std=c11 ${CFLAGS:-} "$source/examples/generate.c" -o "$work/pkg_static" \
    $(pkg-config --cflags sluice) -l:libsluice.a \
    -Wl,--as-needed $(pkg-config --static --libs sluice) ${LDFLAGS:-}
  if ldd "$work/pkg_static" | grep libsluice; then
    echo "the static program needs a shared library of Sluice's"
    exit 1
  fi
  check "$work/pkg_static"
fi

# What docs/c-api.md begins with: its first program, from the installed page, by its own command.
page=$prefix/share/doc/sluice/c-api.md
awk '/^```c first$/ { inside = 1; next } /^```$/ { inside = 0 } inside' "$page" >"$work/first.c"
compile=$(sed -n 's/^cc first.c \(.*\) -o first$/\1/p' "$page" | head -n 1)
(cd "$work" && eval "${CC:-cc} ${CFLAGS:-} first.c $compile -o first ${LDFLAGS:-}")
"$work/first" "$model" | grep -q . || { echo "the first program wrote nothing"; exit 1; }
echo "ran $work/first"

for file in include/sluice.h include/sluice_tools.h include/sluice_backend.h \
  include/sluice/flash_model.h include/sluice/version.h share/doc/sluice/LICENSE \
  share/doc/sluice/ABI.md share/doc/sluice/c-api.md; do
  [ -f "$prefix/$file" ] || { echo "$file was not installed"; exit 1; }
done
echo "installed, found, built and ran"
