#!/usr/bin/env python3
"""Takes the C programs out of a documentation page.

usage: extract_examples.py PAGE FOLDER           writes FOLDER/NAME.c for each, prints the names
       extract_examples.py PAGE --cover SYMBOLS  fails when a function that the file SYMBOLS lists
                                                 is called in no program

A block that begins with ```c NAME belongs to the program NAME; blocks of one name follow each
other. The block of the name * is the beginning of all programs behind it.
"""
import pathlib
import re
import sys

BLOCK = re.compile(r"^```c (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def programs(page):
    made, beginning = {}, ""
    for name, code in BLOCK.findall(page.read_text(encoding="utf-8")):
        if name == "*":
            beginning += code
        elif name in made:
            made[name] += "\n" + code
        else:
            made[name] = (beginning + "\n" if beginning else "") + code
    return made


def cover(made, symbols):
    code = "\n".join(made.values())
    code = re.sub(r"/\*.*?\*/", "", code, flags=re.DOTALL)
    missing = [name for name in symbols if not re.search(rf"\b{name}\(", code)]
    for name in missing:
        print(f"{name} is called in no example")
    print(f"{len(symbols)} functions, {len(missing)} without an example, {len(made)} examples")
    return 1 if missing or not symbols else 0


def write(made, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name, code in made.items():
        path = folder / f"{name}.c"
        if not path.exists() or path.read_text(encoding="utf-8") != code:
            path.write_text(code, encoding="utf-8")
    print(";".join(made))
    return 0 if made else 1


def main():
    made = programs(pathlib.Path(sys.argv[1]))
    if sys.argv[2] == "--cover":
        return cover(made, pathlib.Path(sys.argv[3]).read_text(encoding="utf-8").split())
    return write(made, pathlib.Path(sys.argv[2]))


if __name__ == "__main__":
    sys.exit(main())
