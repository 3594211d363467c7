"""Text that is being generated: an iterator over its pieces, for `for` and `async for`.

The library generates on a thread of its own and waits after each piece until the next is asked
for. So whichever way a loop ends, the session holds what it has seen but for the last token: that
one the next generate() feeds first, and prefill() or decode() drops it.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import queue
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, AsyncIterator, Callable, Iterator, NoReturn, Optional, Tuple
from typing import Type, Union

import numpy as np

from . import _structs as s
from ._callbacks import find, forget, register
from ._options import FloatArray
from .errors import BadState, error_of

if TYPE_CHECKING:
    from .session import Session

# Gets the logits and the position of the token that is about to be chosen; changes them in place
# (-inf forbids a token), or returns others.
LogitsProcessor = Callable[[FloatArray, int], Optional[FloatArray]]

_CANCELLED = 8


@dataclass(frozen=True)
class TokenLogprob:
    token: int
    logprob: float  # natural logarithm


@dataclass(frozen=True)
class Piece:
    """One token, and the text that it completed: often none, since incomplete characters and what
    may become a stop string are held back."""

    token: Optional[int]  # None when only held-back text was left to give
    text: str
    logprob: Optional[float] = None                # with top_logprobs
    top_logprobs: Tuple[TokenLogprob, ...] = ()    # most likely first


@dataclass(frozen=True)
class _End:
    status: int
    message: str
    finish_reason: int

    @property
    def cancelled(self) -> bool:
        if self.status != 0:
            return self.status == _CANCELLED
        return s.FINISH_REASONS[self.finish_reason] == "cancelled"


class Run:
    """The library's side: what the callbacks need, and where they leave what they have.

    C knows it by a number, and the registry keeps it until on_done. It refers to neither Generation
    nor Session, which may be dropped meanwhile.
    """

    def __init__(self, processor: Optional[LogitsProcessor]) -> None:
        self.items: "queue.SimpleQueue[Union[Piece, _End]]" = queue.SimpleQueue()
        self.finished = threading.Event()
        self.end: Optional[_End] = None
        self.error: Optional[BaseException] = None
        self.notify: Optional[Callable[[], object]] = None  # after each item, for asyncio
        self.thread = 0
        self.stopped = False
        self.cancelled = False  # by sluice_session_cancel(), on top of the stop
        self.number = register(self)
        self._processor = processor
        self._logits: Optional[FloatArray] = None
        self._logprobs: Tuple[Optional[float], Tuple[TokenLogprob, ...]] = (None, ())
        # Garbage may be collected anywhere, also while this lock is held, and stop() be called by
        # that. For the same reason a queue, whose put() may interrupt itself, and no semaphore.
        self._lock = threading.RLock()
        self._waits = False  # in on_token(), for the next piece to be asked for
        self._go_on: "queue.SimpleQueue[None]" = queue.SimpleQueue()

    # ---- on the library's thread

    def guarded(self, function: Callable[..., None], *arguments: Any) -> int:
        """Runs a callback; nonzero stops, also after an exception, which is kept."""
        self.thread = threading.get_ident()
        if self.stopped or self.error is not None:
            return 1
        try:
            function(*arguments)
        except BaseException as error:
            self.error = error
            return 1
        return 1 if self.stopped else 0

    def on_logits(self, logits: int, size: int, position: int) -> None:
        assert self._processor is not None
        # A copy: the library's own array is gone after the call, but a host's reference is not.
        if self._logits is None:
            self._logits = np.empty(size, dtype=np.float32)
        ctypes.memmove(self._logits.ctypes.data, logits, 4 * size)
        others = self._processor(self._logits, position)
        if others is not None and others is not self._logits:
            self._logits[:] = others
        ctypes.memmove(logits, self._logits.ctypes.data, 4 * size)

    def on_logprobs(self, chosen: Any, top: Any, count: int) -> None:
        best = tuple(TokenLogprob(top[i].token, top[i].logprob) for i in range(count))
        self._logprobs = (chosen[0].logprob, best)

    def on_token(self, token: int, text: str) -> None:
        logprob, best = self._logprobs if token >= 0 else (None, ())
        self._logprobs = (None, ())
        with self._lock:
            self._waits = True
        self._put(Piece(token if token >= 0 else None, text, logprob, best))
        self._go_on.get()
        with self._lock:
            self._waits = False

    def on_done(self, status: int, message: str, finish_reason: int) -> None:
        forget(self.number)
        self._processor = self._logits = None  # the session may keep this object
        with self._lock:
            self.end = _End(status, message, finish_reason)
        self.finished.set()
        self._put(self.end)

    def _put(self, item: Union[Piece, _End]) -> None:
        self.items.put(item)
        notify = self.notify
        if notify is not None:
            try:
                notify()
            except RuntimeError:  # that event loop is closed
                pass

    # ---- on any other

    def drop(self) -> None:
        """It never started."""
        forget(self.number)

    def go_on(self) -> None:
        self._go_on.put(None)

    def stop(self, cancel: Callable[[], None]) -> None:
        """Ends it soon. `cancel` is for when the library is computing: left for a session that does
        nothing, a cancellation would stop its next call."""
        with self._lock:
            self.stopped = True
            if self.end is None and not self._waits:
                self.cancelled = True
                cancel()
        self._go_on.put(None)


def _on_token(token: int, text: int, size: int, number: Optional[int]) -> int:
    run = find(number)
    if run is None:
        return 1
    piece = ctypes.string_at(text, size).decode("utf-8", "replace") if size else ""
    return int(run.guarded(run.on_token, token, piece))


def _on_logits(logits: int, size: int, position: int, number: Optional[int]) -> int:
    run = find(number)
    return 1 if run is None else int(run.guarded(run.on_logits, logits, size, position))


def _on_logprobs(chosen: Any, top: Any, count: int, number: Optional[int]) -> int:
    run = find(number)
    return 1 if run is None else int(run.guarded(run.on_logprobs, chosen, top, count))


def _on_done(status: int, message: Optional[bytes], reason: int, number: Optional[int]) -> None:
    run = find(number)
    if run is not None:
        run.on_done(status, (message or b"").decode("utf-8", "replace"), reason)


ON_TOKEN = s.TokenFn(_on_token)
ON_LOGITS = s.LogitsFn(_on_logits)
ON_LOGPROBS = s.LogprobsFn(_on_logprobs)
ON_DONE = s.DoneFn(_on_done)


class Generation(Iterator[Piece], AsyncIterator[Piece]):
    """What Session.generate() returns. Iterate over it, with `for` or with `async for`:

        for piece in session.generate("The sea was", max_tokens=50):
            print(piece.text, end="", flush=True)

    Work begins at once. Leaving the loop, dropping the object or close() stops it; where the object
    has a name of its own it can go on with next(), and the session is busy until then. Exceptions
    of a logits processor come out of the iteration. `finish_reason` says how it ended: "stop",
    "length" or "cancelled"; None while it has not.

    Threads: one at a time.
    """

    def __init__(self, session: "Session", run: Run, cancel: Callable[[], None]) -> None:
        self._session = session  # not to be closed meanwhile
        self._run = run
        self._cancel = cancel
        self._process = os.getpid()
        self._owes = False  # a piece was given; the library waits for the next to be asked for
        self._over = False
        self._event: Optional[asyncio.Event] = None
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self.finish_reason: Optional[str] = None

    # ---- for

    def __iter__(self) -> "Generation":
        return self

    def __next__(self) -> Piece:
        if not self._ask():
            raise StopIteration
        item = self._run.items.get()
        if isinstance(item, _End):
            self._finish(item)
            raise StopIteration
        self._owes = True
        return item

    def _ask(self) -> bool:
        """Lets the library go on; False when there is no more."""
        if self._process != os.getpid():
            raise BadState("this generation runs in the process before fork()")
        if self._over:
            return False
        if self._owes:
            self._owes = False
            self._run.go_on()
        return True

    def _finish(self, end: _End) -> None:
        self._over = True
        self._run.notify = None
        error, self._run.error = self._run.error, None
        if end.status == 0:
            self.finish_reason = s.FINISH_REASONS[end.finish_reason]
        elif end.status == _CANCELLED:
            self.finish_reason = "cancelled"
        if error is not None:
            _raise(error)
        if end.status not in (0, _CANCELLED):
            raise self._session._with_cause(error_of(end.status, end.message))

    def close(self) -> None:
        """Stops, and waits until the session is free again: at most about 100 ms."""
        if self._stop() and self._run.thread != threading.get_ident():
            self._run.finished.wait()

    def _stop(self) -> bool:
        """False when there is nothing to wait for."""
        if self._process != os.getpid():
            return False
        if not self._over:
            self._over = True
            self.finish_reason = "cancelled"
            self._run.stop(self._cancel)
        return True

    def __enter__(self) -> "Generation":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 traceback: Optional[TracebackType]) -> None:
        self.close()

    def __del__(self) -> None:
        # Without waiting: the session's next call does that.
        if not getattr(self, "_over", True):
            self._stop()

    # ---- async for

    def __aiter__(self) -> "Generation":
        return self

    async def __anext__(self) -> Piece:
        event = self._listen()
        if not self._ask():
            raise StopAsyncIteration
        while True:
            event.clear()  # before the look: what comes after it sets it again
            try:
                item = self._run.items.get_nowait()
                break
            except queue.Empty:
                await event.wait()
        if isinstance(item, _End):
            self._finish(item)
            raise StopAsyncIteration
        self._owes = True
        return item

    def _listen(self) -> asyncio.Event:
        loop = asyncio.get_running_loop()
        if self._event is None or self._loop is not loop:
            event = asyncio.Event()
            self._event, self._loop = event, loop
            self._run.notify = lambda: loop.call_soon_threadsafe(event.set)
        return self._event

    async def aclose(self) -> None:
        """close(), without holding up the event loop."""
        event = self._listen()
        if self._stop():
            while not self._run.finished.is_set():
                event.clear()
                if not self._run.finished.is_set():
                    await event.wait()

    async def __aenter__(self) -> "Generation":
        return self

    async def __aexit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                        traceback: Optional[TracebackType]) -> None:
        await self.aclose()


def _raise(error: BaseException) -> NoReturn:
    try:
        raise error
    finally:
        del error  # its traceback refers to this frame
