"""The package's idea of the C ABI against the headers: a C program says how they are laid out."""

import ctypes
import os
import re
import subprocess

import pytest

import sluice
from sluice import _structs as s
from sluice._library import ABI, PROTOTYPES

HEADERS = ("sluice.h", "sluice_tools.h", "sluice_backend.h")


def members(struct):
    return [name for name, _ in struct._fields_]


@pytest.fixture(scope="module")
def includes(source):
    return [os.environ["SLUICE_TEST_INCLUDE"], str(source / "capi" / "include")]


@pytest.fixture(scope="module")
def layout(includes, tmp_path_factory):
    """{"sluice_stats": its size, "sluice_stats.tokens": (offset, size), "SLUICE_OK": 0, ...}"""
    folder = tmp_path_factory.mktemp("layout")
    lines = [f"#include <{header}>" for header in HEADERS]
    lines += ["#include <stddef.h>", "#include <stdio.h>", "int main(void) {"]
    for name, struct in s.STRUCTS.items():
        lines.append(f'printf("{name} %zu 0\\n", sizeof({name}));')
        for member in members(struct):
            lines.append(f'printf("{name}.{member} %zu %zu\\n", offsetof({name}, {member}), '
                         f"sizeof((({name}*)0)->{member}));")
    for name in constants():
        lines.append(f'printf("{name} %d 0\\n", (int){name});')
    (folder / "layout.c").write_text("\n".join(lines + ["return 0;", "}"]))
    program = folder / "layout"
    subprocess.run([*os.environ.get("CC", "cc").split(), "-std=c11",
                    *(f"-I{path}" for path in includes), str(folder / "layout.c"), "-o",
                    str(program)], check=True)
    out = subprocess.run([str(program)], check=True, stdout=subprocess.PIPE).stdout.decode()
    return {name: (int(a), int(b)) for name, a, b in (line.split() for line in out.splitlines())}


def constants():
    found = {}
    tables = {"MODE": s.MODES, "ENGINE": s.ENGINES, "RESIDENT": s.RESIDENT_TYPES, "KV": s.KV_TYPES,
              "DISABLE": s.DISABLE, "DTYPE": s.DTYPES,
              "FINISH": {name: i for i, name in enumerate(s.FINISH_REASONS)},
              "ELEMENT": {name: i for i, name in enumerate(s.ELEMENTS)},
              "SOURCE": {"PATH": s.SOURCE_PATH, "FD": s.SOURCE_FD, "READER": s.SOURCE_READER}}
    for prefix, table in tables.items():
        for name, number in table.items():
            found[f"SLUICE_{prefix}_{name.upper()}"] = number
    names = {"IoError": "IO"}
    for kind in (sluice.InvalidArgument, sluice.NotFound, sluice.IoError, sluice.Corrupt,
                 sluice.Unsupported, sluice.OutOfMemory, sluice.BadState, sluice.Cancelled,
                 sluice.Internal):
        name = names.get(kind.__name__) or re.sub(r"(?<=.)([A-Z])", r"_\1", kind.__name__).upper()
        found[f"SLUICE_{name}"] = kind.code
    found["SLUICE_ABI"] = ABI
    return found


@pytest.mark.parametrize("name", list(s.STRUCTS))
def test_struct_is_as_in_the_header(layout, name):
    struct = s.STRUCTS[name]
    assert ctypes.sizeof(struct) == layout[name][0]
    for member in members(struct):
        field = getattr(struct, member)
        assert (field.offset, field.size) == layout[f"{name}.{member}"], member


def test_constants_are_those_of_the_headers(layout):
    for name, number in constants().items():
        assert layout[name][0] == number, name


def declarations(includes):
    """{"sluice_abi": number of arguments}, from the headers' text."""
    found = {}
    for header in HEADERS:
        path = next(p for p in (os.path.join(i, header) for i in includes) if os.path.exists(p))
        text = re.sub(r"/\*.*?\*/", "", open(path).read(), flags=re.DOTALL)
        for name, arguments in re.findall(r"SLUICE_API[^;(]*?(sluice_\w+)\(([^;]*)\);", text):
            found[name] = 0 if arguments.strip() == "void" else arguments.count(",") + 1
    return found


def test_every_function_has_a_prototype(includes, source):
    declared = declarations(includes)
    assert len(declared) > 20
    assert {name: len(arguments) for name, (_, arguments) in PROTOTYPES.items()} == declared
    exported = (source / "tests" / "capi" / "exported_symbols.txt").read_text().split()
    assert set(PROTOTYPES) == set(exported)


def test_version_is_the_librarys():
    assert sluice.library_version() == sluice.__version__
