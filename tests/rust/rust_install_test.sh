#!/bin/sh
# Does what docs/rust.md says, from an installation on: a crate of its own that finds the installed
# library by pkg-config. Each program in the guide is built and run.
#   rust_install_test.sh BUILD SOURCE MODEL LIBDIR
# From the environment: CARGO, CMAKE, SLUICE_SANITIZE.
set -eu
build=$1
source=$2
model=$3
libdir=$4
work=$build/tests/rust/work
prefix=$work/prefix
target=$work/target
# shellcheck source=cargo.sh
. "$source/tests/rust/cargo.sh"
# shellcheck source=../support/guide.sh
. "$source/tests/support/guide.sh"
if [ -n "${SLUICE_SANITIZE:-}" ]; then
  echo "SKIPPED: a program as a host links it does not link sanitizers (here: $SLUICE_SANITIZE)"
  exit 77
fi
rm -rf "$work"
mkdir -p "$work/app/src/bin"
"${CMAKE:-cmake}" --install "$build" --prefix "$prefix" >"$work/install.log"

# Blocks of the guide, by their language: the first is main.rs, the others are programs beside it.
# The README has one more program.
awk -v out="$work/app" '
  /^```toml$/ && FNR == NR { file = out "/dependencies.toml"; next }
  /^```rust(,no_run)?$/ {
    file = count == 0 ? out "/src/main.rs" : out "/src/bin/guide_" count ".rs"
    count++
    next
  }
  /^```/ { file = ""; next }
  file != "" { print >file }
  END { print count + 0 >(out "/count") }' "$source/docs/rust.md" "$source/README.md"
printf '[package]\nname = "app"\nversion = "0.1.0"\nedition = "2021"\n\n' >"$work/app/Cargo.toml"
sed "s|\"../sluice/|\"$source/|" "$work/app/dependencies.toml" >>"$work/app/Cargo.toml"
ln -s "$model" "$work/app/tales-7m.flash"
cd "$work/app"

# Without the library, and with one of another ABI, the message says what to do.
must_fail() {
  if cargo_offline check >"$work/failed.log" 2>&1 || ! grep -q "$1" "$work/failed.log"; then
    cat "$work/failed.log"
    echo "expected: $1"
    exit 1
  fi
}
(
  export PKG_CONFIG_LIBDIR="$work" PKG_CONFIG_PATH=
  must_fail "no installed sluice was found"
)
mkdir "$work/other"
echo "#define SLUICE_ABI 99" >"$work/other/sluice.h"
(
  export SLUICE_LIB_DIR="$work" SLUICE_INCLUDE_DIR="$work/other"
  must_fail "is of ABI 99"
)

PKG_CONFIG_PATH="$prefix/$libdir/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}"
LD_LIBRARY_PATH="$prefix/$libdir${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export PKG_CONFIG_PATH LD_LIBRARY_PATH
cargo_offline build --bins
first_program "$target/debug/app"
count=$(cat count)
[ "$count" -ge 9 ] || { echo "only $count programs were found"; exit 1; }
other_programs "$target/debug/guide_" 1 $((count - 1))
# Where the static library was made, a program that needs no libsluice.so.
if [ -f "$prefix/$libdir/libsluice.a" ]; then
  cargo_offline build --bin app --features sluice/static
  (
    unset LD_LIBRARY_PATH
    [ "$("$target/debug/app")" = "$got" ] || { echo "the static program wrote something else"; exit 1; }
  )
  echo "a program with the static library wrote the same"
fi
echo "the $count programs of the guide and the README ran against an installed copy"
