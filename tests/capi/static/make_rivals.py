#!/usr/bin/env python3
"""Writes a C file that defines, as global functions that end the program, all that is
abseil's, Sluice's and their dependencies' in an archive, where it is local.

usage: make_rivals.py NM ARCHIVE OUT.c

A host that links that file and still generates text shows that no call of the archive's leaves it.
"""
import pathlib
import re
import subprocess
import sys

# Template instances of std:: stay out: libstdc++.so would take them for its own.
OURS = re.compile(r"^(?:_Z\w*(?:4absl|6sluice|8nlohmann)\w*|XXH\w+|_*io_uring\w+)$")


def main():
    nm, archive, out = sys.argv[1:]
    listing = subprocess.run([nm, archive], check=True, capture_output=True, text=True).stdout
    names = set()
    for line in listing.splitlines():
        words = line.split()
        if len(words) == 3 and words[1] in "tdbr" and OURS.match(words[2]):
            names.add(words[2])
    if sum("4absl" in name for name in names) < 100 or sum("6sluice" in name for name in names) < 100:
        sys.exit(f"{archive}: too few names were found for this to be a test")
    lines = ["#include <stdlib.h>"]
    lines += [f"void {name}(void);\nvoid {name}(void) {{ abort(); }}" for name in sorted(names)]
    pathlib.Path(out).write_text("\n".join(lines) + "\n", encoding="ascii")
    print(f"{len(names)} rivals")
    return 0


if __name__ == "__main__":
    sys.exit(main())
