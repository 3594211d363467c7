# Sourced by the tests here, with their arguments PREFIX MODEL WORK: sets what `swift` needs to
# build against an installed Sluice. Exit status 77: there is no Swift here, nothing was tested.
if [ $# -ne 3 ]; then
  echo "usage: $0 PREFIX MODEL WORK" >&2
  exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
if ! command -v swift >/dev/null 2>&1; then
  echo "SKIPPED: no swift; on Debian 13, apt-get install swiftlang"
  exit 77
fi
mkdir -p "$3"
work=$(cd "$3" && pwd)
prefix=$(cd "$1" && pwd)
model=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
[ -f "$model" ] || { echo "no model at $model"; exit 1; }

if [ -f "$prefix/CMakeCache.txt" ]; then
  "${CMAKE:-cmake}" --install "$prefix" --prefix "$work/prefix" >"$work/install.log"
  prefix=$work/prefix
fi
pc=$(find "$prefix" -name sluice.pc | head -n 1)
[ -n "$pc" ] || { echo "no sluice.pc below $prefix"; exit 1; }
PKG_CONFIG_PATH=$(dirname "$pc")${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
export PKG_CONFIG_PATH
libdir=$(dirname "$(dirname "$pc")")

# What is written goes to WORK, but for empty folders in ~/.swiftpm. The library is found again when
# the programs run.
swift_in_work() {
  subcommand=$1
  package=$2
  shift 2
  mkdir -p "$work/home"
  HOME="$work/home" swift "$subcommand" --package-path "$package" --scratch-path "$work/swift" \
    -Xlinker -rpath -Xlinker "$libdir" "$@"
}
