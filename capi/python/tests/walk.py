"""Runs the Python blocks of a page in order, as one program in the current folder.

usage: walk.py PAGE
"""

import re
import sys


def blocks(page):
    """(line number, text) of each ```python block."""
    text = open(page, encoding="utf-8").read()
    for match in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        yield text.count("\n", 0, match.start(1)), match[1]


def walk(page):
    names = {"__name__": "__main__"}
    count = 0
    for line, block in blocks(page):
        # As many lines before it as in the page: an error then names the page's line.
        exec(compile("\n" * line + block, page, "exec"), names)
        count += 1
    return count


if __name__ == "__main__":
    ran = walk(sys.argv[1])
    import sluice

    print(f"{ran} blocks ran, with {sluice.__file__}")
    sys.exit(0 if ran else 1)
