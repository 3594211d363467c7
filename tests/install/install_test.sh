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

export PKG_CONFIG_PATH="$prefix/$libdir/pkgconfig"
LD_LIBRARY_PATH="$prefix/$libdir${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export LD_LIBRARY_PATH
# shellcheck disable=SC2046,SC2086  # lists of flags
${CC:-cc} -std=c11 ${CFLAGS:-} "$source/examples/generate.c" -o "$work/pkg_c" \
  $(pkg-config --cflags --libs sluice) ${LDFLAGS:-}
check "$work/pkg_c"
# shellcheck disable=SC2046,SC2086
${CXX:-c++} -std=c++20 ${CXXFLAGS:-} "$source/examples/generate.cc" -o "$work/pkg_cc" \
  $(pkg-config --cflags --libs sluice-cpp) ${LDFLAGS:-}
check "$work/pkg_cc"

for file in include/sluice.h include/sluice/flash_model.h include/sluice/version.h \
  share/doc/sluice/LICENSE share/doc/sluice/ABI.md; do
  [ -f "$prefix/$file" ] || { echo "$file was not installed"; exit 1; }
done
echo "installed, found, built and ran"
