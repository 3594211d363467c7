"""What goes wrong, as exceptions: one for each status of the C ABI.

Each is also the built-in exception that a Python program would expect, where Python has one: so
``except FileNotFoundError`` and ``except MemoryError`` do what they say.
"""

from __future__ import annotations

from typing import Dict, Sequence, Type


class SluiceError(Exception):
    """Anything that Sluice reports. ``code`` is the number of the C ABI's status."""

    code: int = -1


class LibraryNotFound(SluiceError, ImportError):
    """libsluice is not to be found here, or has another ABI than this package."""


class InvalidArgument(SluiceError, ValueError):
    """The caller's mistake; nothing has changed."""

    code = 1


class NotFound(SluiceError, FileNotFoundError):
    """No such file."""

    code = 2


class IoError(SluiceError, OSError):
    """Storage failed, or refused."""

    code = 3


class Corrupt(SluiceError):
    """The file is damaged; the message names the place. `damage` lists them, after verify()."""

    code = 4
    damage: Sequence[str] = ()


class Unsupported(SluiceError, NotImplementedError):
    """A form that this version of the library does not read or run."""

    code = 5


class OutOfMemory(SluiceError, MemoryError):
    """No memory, or the budget is below the floor; the message names both."""

    code = 6


class BadState(SluiceError, RuntimeError):
    """Not now: the session is busy, all sessions are taken, there is no tokenizer, ..."""

    code = 7


class Cancelled(SluiceError):
    """Stopped by cancel()."""

    code = 8


class Internal(SluiceError, RuntimeError):
    """A defect of Sluice's. Close the session; it answers nothing else any more."""

    code = 9


_BY_CODE: Dict[int, Type[SluiceError]] = {
    kind.code: kind
    for kind in (InvalidArgument, NotFound, IoError, Corrupt, Unsupported, OutOfMemory, BadState,
                 Cancelled, Internal)
}


def error_of(status: int, message: str) -> SluiceError:
    """The exception for a status that is not OK; unknown ones are plain SluiceErrors."""
    error = _BY_CODE.get(status, SluiceError)(message)
    error.code = status
    return error
