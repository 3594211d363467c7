"""What Model, Session and Backend have in common: a handle that is closed once.

Safe by these rules: closing twice does nothing; a handle of before a fork is refused in the child
and never closed there, since its threads do not exist; everything that is still open when the
interpreter ends is closed while callbacks can still run.
"""

from __future__ import annotations

import atexit
import os
import weakref
from types import TracebackType
from typing import Any, Dict, Optional, Type, TypeVar

from ._library import library
from .errors import BadState

Self = TypeVar("Self", bound="Owner")

# By number, not in a WeakSet: additions by other threads must not disturb the walk at exit.
_open: Dict[int, "weakref.ref[Owner]"] = {}


class Owner:
    """Owns one handle of the C ABI. `_kind` is the noun in its functions' names."""

    _kind = ""
    _value: Optional[int] = None
    _process = -1

    def _own(self, value: int) -> None:
        self._value = value
        self._process = os.getpid()
        _open[value] = weakref.ref(self)

    def _handle(self) -> int:
        value = self._value
        if value is None:
            raise BadState(f"the {self._kind} is closed")
        if self._process != os.getpid():
            raise BadState(f"the {self._kind} is that of the process before fork(); open another")
        return value

    @property
    def closed(self) -> bool:
        return self._value is None

    def close(self) -> None:
        """Closes it; once closed, does nothing. Any thread, at any time."""
        value, self._value = self._value, None
        if value is None or _open is None or self._process != os.getpid():
            return
        _open.pop(value, None)
        getattr(library(), f"sluice_{self._kind}_close")(value)

    def __enter__(self: Self) -> Self:
        self._handle()
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 traceback: Optional[TracebackType]) -> None:
        self.close()

    def __del__(self) -> None:
        if self._value is not None:
            self.close()

    def __reduce__(self) -> Any:
        raise TypeError(f"a {self._kind} cannot be pickled")


def _close_all() -> None:
    # Sessions and backends first: closing a model waits for nobody, closing those ends what runs.
    owners = [owner for owner in (reference() for reference in list(_open.values())) if owner]
    for owner in sorted(owners, key=lambda owner: owner._kind == "model"):
        owner.close()


atexit.register(_close_all)
