# Sourced by the tests here: says what is missing, and sets what cargo needs.
if [ -z "${CARGO:-}" ] || ! "$CARGO" --version; then
  echo "SKIPPED: cargo is missing; on Debian, apt-get install cargo"
  exit 77
fi
# The rustc and rustdoc that belong to this cargo.
PATH="$(dirname "$CARGO"):$PATH"
export PATH
# No network, and nothing written outside $target.
cargo_offline() {
  subcommand=$1
  shift
  "$CARGO" "$subcommand" --offline --target-dir "$target" "$@"
}
