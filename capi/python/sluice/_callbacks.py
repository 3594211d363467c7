"""How C calls back into Python.

The functions that C holds are made once and live as long as the process; user_data is a number
that stands for the object concerned. So no callback dies too early, none keeps its caller alive,
and a number that nobody knows any more is answered without harm. What a callback raises waits
until the C call that ran it has returned.
"""

from __future__ import annotations

import itertools
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Callable, Dict, Optional, Type

from . import _structs as s
from ._library import check

StageCallback = Callable[[str, float], object]
ProgressCallback = Callable[[int, int], object]

_numbers = itertools.count(1)  # 0 would arrive as None
_registered: Dict[int, Any] = {}


def register(thing: Any) -> int:
    """A number for user_data; `thing` stays alive until forget()."""
    number = next(_numbers)
    _registered[number] = thing
    return number


def forget(number: int) -> None:
    _registered.pop(number, None)


def find(number: Optional[int]) -> Any:
    return None if number is None else _registered.get(number)


class _Interrupts:
    """Notes Ctrl-C instead of raising it while C runs in the main thread.

    Python runs signal handlers when a callback begins, where ctypes would drop what they raise.
    Only Python's own handler is replaced: a program that has one of its own keeps it.
    """

    def __init__(self) -> None:
        self.noted = False
        self._replaced = False

    def _note(self, number: int, frame: Optional[FrameType]) -> None:
        self.noted = True

    def begin(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            try:
                signal.signal(signal.SIGINT, self._note)
                self._replaced = True
            except ValueError:  # not the main interpreter
                pass

    def end(self) -> None:
        if self._replaced:
            self._replaced = False
            if signal.getsignal(signal.SIGINT) == self._note:
                signal.signal(signal.SIGINT, signal.default_int_handler)


class Blocking:
    """One C call with callbacks on the calling thread:

        with Blocking(progress) as call:
            call.check(library().sluice_verify(path, ..., STAGE, call.number))

    `function` may be None: the callbacks then only let Ctrl-C through.
    """

    def __init__(self, function: Optional[Callable[..., object]]) -> None:
        self._function = function
        self._error: Optional[BaseException] = None
        self._interrupts = _Interrupts()
        self.number = 0

    def __enter__(self) -> "Blocking":
        self.number = register(self)
        self._interrupts.begin()
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 traceback: Optional[TracebackType]) -> None:
        self._interrupts.end()
        forget(self.number)
        if self._interrupts.noted and kind is None:
            raise KeyboardInterrupt

    def call(self, *arguments: Any) -> int:
        """Nonzero stops, as C wants it."""
        if self._error is not None or self._interrupts.noted:
            return 1
        try:
            if self._function is not None:
                self._function(*arguments)
            return 0
        except BaseException as error:  # it is raised again in check()
            self._error = error
            return 1

    def check(self, status: int) -> None:
        """Raises what the callback raised, or else what the status means."""
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
            if self._interrupts.noted:
                raise KeyboardInterrupt
            check(status)
        finally:
            del error  # its traceback refers to this frame


def _stage(stage: bytes, done: float, number: Optional[int]) -> int:
    call = find(number)
    return 0 if call is None else call.call(stage.decode("utf-8", "replace"), done)


def _progress(done: int, total: int, number: Optional[int]) -> int:
    call = find(number)
    return 0 if call is None else call.call(done, total)


STAGE = s.StageFn(_stage)
PROGRESS = s.ProgressFn(_progress)
NO_STAGE = s.StageFn()
