#!/bin/sh
# `cargo test` for the crates in capi/rust, on a build's library: their tests, their examples in the
# documentation, and the example program.
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
