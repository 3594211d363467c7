#!/bin/sh
# Does what docs/swift.md says, from an installation on: a package of its own that finds the
# installed library by pkg-config. Each program in the guide is built and run. Exit status 77: there
# is no Swift here, nothing was tested.
#   guide_test.sh PREFIX MODEL WORK
# The arguments are those of run_tests.sh.
set -eu
# shellcheck source=installed.sh
. "$(dirname "$0")/installed.sh"
checkout=$(cd "$here/../.." && pwd)
# shellcheck source=../../tests/support/guide.sh
. "$checkout/tests/support/guide.sh"
app=$work/Tale
rm -rf "$app"
mkdir -p "$app"

# Blocks of the guide: the first is Package.swift, the second its program, the others programs
# beside it. The README has one more program.
awk -v out="$app" '
  /^```swift$/ {
    file = count == 0 ? out "/blocks.manifest" : out "/blocks." count
    count++
    next
  }
  /^```/ { file = ""; next }
  file != "" { print >file }
  END { print count - 1 >(out "/count") }' "$checkout/docs/swift.md" "$checkout/README.md"
count=$(cat "$app/count")
[ "$count" -ge 10 ] || { echo "only $count programs were found"; exit 1; }
mkdir -p "$app/Sources/Tale"
mv "$app/blocks.1" "$app/Sources/Tale/main.swift"
targets=""
product='.product(name: "Sluice", package: "Sluice")'
guide=2
while [ "$guide" -le "$count" ]; do
  mkdir -p "$app/Sources/Guide$guide"
  mv "$app/blocks.$guide" "$app/Sources/Guide$guide/main.swift"
  targets="$targets .executableTarget(name: \"Guide$guide\", dependencies: [$product]),"
  guide=$((guide + 1))
done
sed -e "s|\"../sluice/|\"$checkout/|" -e "s|targets: \[|targets: [$targets|" \
  "$app/blocks.manifest" >"$app/Package.swift"
cp "$model" "$app/tales-7m.flash"
cd "$app"
swift_in_work build . -Xswiftc -warnings-as-errors
bin=$(swift_in_work build . --show-bin-path)

first_program "$bin/Tale"
other_programs "$bin/Guide" 2 "$count"
echo "the $count programs of the guide and the README ran against an installed copy"
