"""Models: opened, planned for, and asked about."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional, Tuple

import numpy as np

from . import _structs as s
from ._callbacks import STAGE, Blocking, StageCallback
from ._handle import Owner
from ._library import check, library
from ._options import IntArray, ModelOptions, Tokens, address, byref, model_options, token_array
from ._sources import OpenSource, Reader
from .errors import BadState, Cancelled, InvalidArgument, SluiceError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._sources import Source
    from .backend import Backend
    from .session import Session


@dataclass(frozen=True)
class MemoryPlan:
    """What a budget buys, in bytes."""

    fits: bool              # the budget is at or above the floor
    floor_bytes: int        # the least budget that these options can be opened with
    recommended_bytes: int  # holds what a window of 5 tokens needs
    budget_bytes: int       # the one planned for
    resident_bytes: int     # weights that stay in DRAM
    predictor_bytes: int
    kv_bytes: int           # KV caches of all sessions
    slot_bytes: int         # neuron slots
    scratch_bytes: int      # activations and bookkeeping
    io_bytes: int
    context_tokens: int
    max_sessions: int
    mode: str               # "sparse" or "dense": what "auto" comes to


@dataclass(frozen=True)
class ModelInfo:
    """What a model is."""

    num_layers: int
    d_model: int
    d_ffn: int
    num_heads: int
    vocab_size: int
    max_positions: int
    has_tokenizer: bool
    has_predictors: bool
    file_bytes: int
    family: str
    eos_ids: Tuple[int, ...]


def _plan_of(c: s.CMemoryPlan) -> MemoryPlan:
    names = {number: name for name, number in s.MODES.items()}
    return s.to_dataclass(MemoryPlan, c, mode=names.get(c.mode, str(c.mode)))


def _info_of(c: s.CModelInfo) -> ModelInfo:
    return s.to_dataclass(ModelInfo, c, eos_ids=tuple(c.eos_ids[:min(c.eos_count, 7)]))


def _attach_cause(error: BaseException, reader: Optional[Reader]) -> None:
    """An error that a reader's exception led to says so; Ctrl-C in it is raised in its place.

    A read that was repeated with success leaves an exception behind: no cause of what storage has
    nothing to do with.
    """
    unrelated = (InvalidArgument, BadState, Cancelled)
    if reader is None or not isinstance(error, SluiceError) or isinstance(error, unrelated):
        return
    cause, reader.error = reader.error, None
    if cause is None:
        return
    if isinstance(cause, Exception):
        error.__cause__ = cause
        return
    try:
        raise cause from None
    finally:
        del cause  # its traceback refers to this frame


class Model(Owner):
    """An open model.

        with sluice.Model("tales-7m.flash", dram_budget="64M") as model:
            session = model.session()

    `source` is a path; or a file descriptor or an ordinary open file, whose bytes from `offset` on
    (`length` of them, or all) are the bundle file; or any binary file that can seek, or object with
    read_at(offset, size), both slower. Descriptors are duplicated: the file may be closed when the
    model is open. Objects are used until the model and all its sessions are closed; read_at() is
    called on `read_threads` threads at once. `progress` gets ("read", share done) while weights are
    read; what it raises ends opening. The other options are those of ModelOptions.

    Threads: a model may be used by any number at once. Closing it leaves sessions that are open
    undisturbed. Not for child processes after fork().
    """

    _kind = "model"

    def __init__(self, source: "Source", *, offset: int = 0, length: Optional[int] = None,
                 read_threads: int = 0, progress: Optional[StageCallback] = None,
                 **options: "Unpack[ModelOptions]") -> None:
        c_options = model_options(options)
        origin = OpenSource(source, offset, length, read_threads)
        self._reader: Optional[Reader] = origin.reader
        self._info: Optional[ModelInfo] = None
        self._open(origin, c_options, progress)

    def _open(self, origin: OpenSource, c_options: s.CModelOptions,
              progress: Optional[StageCallback]) -> None:
        out = ctypes.c_void_p()
        try:
            with Blocking(progress) as call:
                call.check(library().sluice_source_open(origin.lend(), byref(c_options), byref(out),
                                                        STAGE, call.number))
                assert out.value is not None
                self._own(out.value)
        except BaseException as error:
            # Also where it has opened: Ctrl-C, or the callback's exception, came too late for that.
            self.close()
            if out.value is not None:
                library().sluice_model_close(out)  # nothing, when the line above did it
            origin.take_back()
            _attach_cause(error, self._reader)
            raise

    def _with_cause(self, error: SluiceError) -> SluiceError:
        """An error that a reader's exception led to says so."""
        _attach_cause(error, self._reader)
        return error

    def _check(self, status: int) -> None:
        try:
            check(status)
        except SluiceError as error:
            raise self._with_cause(error)

    @staticmethod
    def plan_for(source: "Source", *, offset: int = 0, length: Optional[int] = None,
                 read_threads: int = 0, **options: "Unpack[ModelOptions]") -> MemoryPlan:
        """What opening would take. Reads no weights; a budget below the floor is no error."""
        c_options = model_options(options)
        origin = OpenSource(source, offset, length, read_threads)
        plan = s.CMemoryPlan()
        try:
            check(library().sluice_source_plan(origin.lend(), byref(c_options), byref(plan)))
        except SluiceError as error:
            _attach_cause(error, origin.reader)
            raise
        finally:
            origin.take_back()
        return _plan_of(plan)

    @property
    def plan(self) -> MemoryPlan:
        """The plan that the model was opened with."""
        plan = s.CMemoryPlan()
        check(library().sluice_model_plan_copy(self._handle(), byref(plan)))
        return _plan_of(plan)

    @property
    def info(self) -> ModelInfo:
        if self._info is None:
            info = s.CModelInfo()
            check(library().sluice_model_info_copy(self._handle(), byref(info)))
            self._info = _info_of(info)
        return self._info

    def tokenize(self, text: str, *, add_special: bool = True) -> IntArray:
        """Token ids of text; special tokens spelled in it are ordinary text.

        add_special: with the tokenizer's special tokens around. BadState: no tokenizer.
        """
        data = text.encode("utf-8", "replace")
        # More than one id for a byte there is not, special tokens apart.
        tokens = np.empty(len(data) + 8, dtype=np.int32)
        count = ctypes.c_size_t()
        for _ in range(2):
            status = library().sluice_model_tokenize(
                self._handle(), data, len(data), int(add_special), address(tokens), tokens.size,
                byref(count))
            if status == 0 or count.value <= tokens.size:
                break
            tokens = np.empty(count.value, dtype=np.int32)
        check(status)
        ids: IntArray = tokens[:count.value].copy()
        return ids

    def detokenize(self, tokens: Tokens) -> str:
        """Text of token ids. A character that is cut off at an end comes out as U+FFFD."""
        ids = token_array(tokens)
        room = ctypes.create_string_buffer(16 * ids.size + 16)
        count = ctypes.c_size_t()
        for _ in range(2):
            status = library().sluice_model_detokenize(self._handle(), address(ids), ids.size, room,
                                                       len(room), byref(count))
            if status == 0 or count.value < len(room):
                break
            room = ctypes.create_string_buffer(count.value + 1)
        check(status)
        return ctypes.string_at(room, count.value).decode("utf-8", "replace")

    def session(self) -> "Session":
        """A new session. BadState: all max_sessions are taken."""
        from .session import Session

        return Session(self)

    def backend(self) -> "Backend":
        """The feed-forward layers alone. Takes one of max_sessions."""
        from .backend import Backend

        return Backend(self)

    def __repr__(self) -> str:
        if self.closed:
            return "<sluice.Model, closed>"
        info: Any = self.info
        return (f"<sluice.Model {info.family}, {info.num_layers} layers of {info.d_model}, "
                f"{info.file_bytes} bytes>")
