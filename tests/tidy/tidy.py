#!/usr/bin/env python3
"""The style guide's teeth: column and function lengths, include arrows, banned calls, ASCII.

usage: tidy.py REPOSITORY     prints one line for each offence, exits with 1 if there is any
"""
import pathlib
import re
import sys

MAX_COLUMNS = 100
MAX_FUNCTION_LINES = 70

# What each part may include besides itself; docs/ARCHITECTURE.md explains the arrows.
ARROWS = {
    "lib/base": set(),
    "lib/io": {"base"},
    "lib/format": {"base", "io"},
    "lib/text": {"base"},
    "lib/kernels": {"base"},
    "lib/cache": {"base"},
    "lib/loader": {"base", "io", "format"},
    "lib/predictor": {"base", "kernels"},
    "lib/model": {"base", "io", "format", "text", "kernels", "cache", "loader", "predictor",
                  "include"},
    "lib/train": {"base", "io", "format", "kernels", "model", "predictor", "include"},
    "lib/convert": {"base", "io", "format", "text", "kernels", "model", "predictor", "train",
                    "include"},
    "capi": {"base", "include"},
    "examples": {"include"},
    "include": {"include"},
}

# The library never ends, prints, or changes process-wide settings. Linux stays in lib/io.
BANNED_IN_LIBRARY = [
    r"\babort\s*\(", r"\b(_?exit|_Exit|quick_exit)\s*\(", r"\b(printf|fprintf|puts|putchar)\s*\(",
    r"std::(cout|cerr|clog)\b", r"\bassert\s*\(\s*false", r"\bsetlocale\s*\(", r"\bchdir\s*\(",
    r"\bgetenv\s*\(", r"\bstd::regex\b", r"\bsystem\s*\(", r"\bABSL_(RAW_)?CHECK\b",
]
LINUX_HEADERS = re.compile(r'#include\s+<(linux/|sys/|liburing|unistd|fcntl|sched|dirent|poll)')

KEYWORDS = {"if", "for", "while", "switch", "catch", "do", "else", "return", "namespace"}


def sources(root):
    for top in ("lib", "include", "capi", "examples", "tests", "bench"):
        for path in sorted((root / top).rglob("*")):
            if path.suffix in (".h", ".cc", ".c", ".in") and path.is_file():
                if path.suffix == ".in" and not path.name.endswith(".h.in"):
                    continue
                yield path


def part_of(relative):
    words = relative.split("/")
    if words[0] == "lib":
        return "/".join(words[:2])
    return words[0]


def target_of(include):
    words = include.split("/")
    if words[0] == "lib" and len(words) > 2:
        return words[1]
    if words[0] == "sluice" or include in ("sluice.h", "sluice_tools.h", "sluice_backend.h"):
        return "include"
    return None


def check_includes(relative, lines):
    part = part_of(relative)
    if part not in ARROWS:
        return
    own = part.split("/")[-1]
    for number, line in enumerate(lines, 1):
        match = re.match(r'\s*#include\s+"([^"]+)"', line)
        if match:
            target = target_of(match[1])
            if target is not None and target != own and target not in ARROWS[part]:
                yield f"{relative}:{number}: {part} must not include {match[1]}"
        if part.startswith("lib/") and part != "lib/io" and LINUX_HEADERS.match(line):
            yield f"{relative}:{number}: system header outside lib/io: {line.strip()}"


def strip_comment(line):
    return re.sub(r'"(\\.|[^"\\])*"', '""', line).split("//")[0]


def check_lines(relative, lines):
    library = relative.startswith(("lib/", "capi/", "include/"))
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_COLUMNS:
            yield f"{relative}:{number}: {len(line)} columns"
        if not line.isascii():
            yield f"{relative}:{number}: not ASCII"
        if re.search(r"\b(TODO|FIXME|XXX)\b", line):
            yield f"{relative}:{number}: unfinished work is marked here"
        if line.rstrip() != line:
            yield f"{relative}:{number}: blanks at the end of the line"
        if library and not relative.endswith(".in"):
            code = strip_comment(line)
            for banned in BANNED_IN_LIBRARY:
                if re.search(banned, code):
                    yield f"{relative}:{number}: banned in the library: {line.strip()}"


def check_functions(relative, lines):
    """A function's body starts at a line that ends with ') {' (or ') const {' ...) and is not a
    control statement, and ends at the brace that closes it at the same indent."""
    for number, line in enumerate(lines, 1):
        if not re.search(r"\)( const| noexcept| override|:.*)* \{$", line):
            continue
        indent = len(line) - len(line.lstrip())
        first = re.match(r"\s*(\}\s*)?(\w+)", line)
        if indent > 2 or (first and first[2] in KEYWORDS):
            continue
        closing = " " * indent + "}"
        for end in range(number, len(lines)):
            if lines[end].startswith(closing) and not lines[end].startswith(closing + "  //"):
                if end - number + 1 > MAX_FUNCTION_LINES:
                    yield f"{relative}:{number}: a function of {end - number + 1} lines"
                break


def main():
    root = pathlib.Path(sys.argv[1])
    files, offences = 0, []
    for path in sources(root):
        relative = path.relative_to(root).as_posix()
        lines = path.read_text(encoding="utf-8").split("\n")
        files += 1
        for check in (check_lines, check_includes, check_functions):
            offences.extend(check(relative, lines))
    for offence in offences:
        print(offence)
    print(f"{files} files, {len(offences)} offences")
    return 1 if offences or files < 50 else 0


if __name__ == "__main__":
    sys.exit(main())
