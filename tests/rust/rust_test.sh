#!/bin/sh
# `cargo test` for the crates in capi/rust, on a build's library: their tests, their examples in the
# documentation, and the example program. With the address sanitizer just the tests: it sees what C++
# does to Rust's memory, and the other way round.
#   rust_test.sh BUILD SOURCE MODEL LIBDIR
# From the environment: CARGO, SLUICE_SANITIZE, CC.
set -eu
build=$1
source=$2
model=$3
target=$build/tests/rust/target
# shellcheck source=cargo.sh
. "$source/tests/rust/cargo.sh"

export SLUICE_LIB_DIR="$build/capi" SLUICE_INCLUDE_DIR="$build/capi/include"
LD_LIBRARY_PATH="$build/capi${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export LD_LIBRARY_PATH SLUICE_TEST_MODEL="$model"
manifest=$source/capi/rust/Cargo.toml
case ${SLUICE_SANITIZE:-} in
  "") ;;
  *address*)
    asan=$("${CC:-cc}" -print-file-name=libasan.so)
    if [ ! -e "$asan" ]; then
      echo "SKIPPED: ${CC:-cc} has no shared address sanitizer that could be preloaded"
      exit 77
    fi
    host=$("$CARGO" -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
    # The tests' programs alone run under it, not the compiler. Some leak on purpose.
    export "CARGO_TARGET_${host}_RUNNER=env LD_PRELOAD=$asan ASAN_OPTIONS=detect_leaks=0"
    cargo_offline test --locked --manifest-path "$manifest" --workspace --lib --tests
    exit 0
    ;;
  *)
    echo "SKIPPED: Rust programs do not link this sanitizer ($SLUICE_SANITIZE)"
    exit 77
    ;;
esac
cargo_offline test --locked --manifest-path "$manifest" --workspace

prompt="The old woman opened the door and"
got=$(cargo_offline run --quiet --locked --manifest-path "$manifest" --package sluice \
  --example generate -- "$model" "$prompt")
expected=$("$build/examples/sluice/sluice" generate "$model" --prompt "$prompt" --max-tokens 60 \
  --context 256 2>/dev/null)
if [ -z "$got" ] || ! printf '%s' "$expected" | grep -qF -- "$(printf '%s' "$got" | head -n 1)"
then
  printf 'the example wrote:\n%s\nexpected:\n%s\n' "$got" "$expected"
  exit 1
fi
echo "the example wrote what the sluice program does"
