"""Sessions: a context of their own on a model."""

from __future__ import annotations

import ctypes
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Iterable, List, Optional, Union

import numpy as np

from . import _structs as s
from ._callbacks import PROGRESS, Blocking, ProgressCallback
from ._handle import Owner
from ._library import check, library, path_bytes
from ._options import (
    FloatArray, IntArray, Path, Tokens, address, byref, result_array, token_array, unsigned,
)
from .errors import SluiceError
from .generation import ON_DONE, ON_LOGITS, ON_LOGPROBS, ON_TOKEN, Generation, LogitsProcessor, Run

if TYPE_CHECKING:
    from .model import Model


@dataclass(frozen=True)
class Stats:
    """Means over the tokens decoded since the session was made or reset_stats()."""

    tokens: int                    # decoded
    total_ms_per_token: float      # = io + memory + compute
    io_ms_per_token: float         # compute waited for reads
    memory_ms_per_token: float     # window, slots, read planning
    compute_ms_per_token: float
    io_busy_ms_per_token: float    # reads in flight
    bytes_per_token: float         # from storage
    needed_bytes_per_token: float  # records that had no slot, each counted once
    gap_bytes_per_token: float     # read between needed records
    reads_per_token: float
    mean_read_bytes: float
    read_gb_per_s: float
    hit_rate: float                # needed records that were in DRAM
    active_fraction: float         # neurons with non-zero output
    predicted_fraction: float      # neurons computed
    window_tokens: float           # that a neuron stays in DRAM unused
    window_forced_evictions: int
    lookahead: str
    lookahead_hit_rate: float
    lookahead_wasted_bytes_per_token: float
    prefill_tokens: int
    prefill_ms: float
    prefill_bytes: int
    reused_tokens: int             # of prompts: they were in the KV cache already
    peak_rss_bytes: int            # of the process
    direct_io: bool                # reads bypass the page cache
    engine: str
    engine_reason: str


class Session(Owner):
    """A context on a model: Model.session() makes it, and it keeps the model alive.

    Threads: it may be handed from one to another but runs one call at a time; another one meanwhile
    raises BadState and disturbs nothing. cancel(), close() and position are for any thread at any
    time. The GIL is free during calls. After IoError or Corrupt the position is as it was: try
    again, or close.
    """

    _kind = "session"

    def __init__(self, model: "Model", *, _clone_of: "Optional[Session]" = None) -> None:
        out = ctypes.c_void_p()
        if _clone_of is None:
            model._check(library().sluice_session_create(model._handle(), byref(out)))
        else:
            _clone_of._check(library().sluice_session_clone(_clone_of._settled(), byref(out)))
        assert out.value is not None
        self._own(out.value)
        self._model = model
        self._vocab_size = model.info.vocab_size
        self._run: Optional[Run] = None

    @property
    def model(self) -> "Model":
        return self._model

    def _with_cause(self, error: SluiceError) -> SluiceError:
        return self._model._with_cause(error)

    def _check(self, status: int) -> None:
        self._model._check(status)

    def _settled(self) -> int:
        """The handle, once a generation that was stopped is over."""
        handle = self._handle()
        run = self._run
        if run is not None and run.stopped and run.thread != threading.get_ident():
            run.finished.wait()
            self._run = None
            if run.cancelled:
                # It may have come when the generation had just ended by itself: taken back, so that
                # it does not stop the next call.
                library().sluice_session_prefill(handle, None, 0, None, s.ProgressFn(), None)
        return handle

    # ---- tokens

    def prefill(self, tokens: Tokens, *, progress: Optional[ProgressCallback] = None,
                out: Optional[FloatArray] = None) -> FloatArray:
        """Feeds prompt tokens; returns the logits after the last, shape [vocab_size].

        progress(tokens_done, tokens_total) is called after each layer of each chunk; what it raises
        ends the call, the position unchanged. out: an array for the result.
        """
        ids = token_array(tokens)
        logits = result_array("out", out, (self._vocab_size,))
        handle = self._settled()
        with Blocking(progress) as call:
            status = library().sluice_session_prefill(
                handle, address(ids), ids.size, address(logits), PROGRESS, call.number)
            try:
                call.check(status)
            except SluiceError as error:
                raise self._with_cause(error)
        return logits

    def decode(self, token: int, *, out: Optional[FloatArray] = None) -> FloatArray:
        """Feeds one token; returns the logits after it, shape [vocab_size]."""
        logits = result_array("out", out, (self._vocab_size,))
        number = unsigned("token", token, 31)
        self._check(library().sluice_session_decode(self._settled(), number, address(logits)))
        return logits

    # ---- text

    def generate(self, prompt: Union[str, Tokens], *, max_tokens: int = 128,
                 temperature: float = 0.0, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0,
                 repetition_penalty: float = 1.0, seed: int = 0,
                 stop: Union[str, Iterable[str]] = (), ignore_eos: bool = False,
                 add_special: bool = True, whole_prompt: bool = False, top_logprobs: int = 0,
                 on_logits: Optional[LogitsProcessor] = None) -> Generation:
        """Goes on from the position with `prompt`, text or token ids, and generates.

        Temperature 0 is greedy. The text before the first `stop` string is kept. whole_prompt: the
        prompt is all there is, from position 0; what it shares with the tokens of the session is
        not computed again. top_logprobs: how many for Piece.top_logprobs. on_logits(logits,
        position) changes the logits in place or returns others, on the library's thread; of this
        session it may use cancel(), close(), position and stats. See Generation for the rest.
        """
        options = s.CGenerateOptions(
            max_tokens=unsigned("max_tokens", max_tokens, 32), temperature=temperature,
            top_p=top_p, min_p=min_p, repetition_penalty=repetition_penalty,
            top_k=unsigned("top_k", top_k, 32), ignore_eos=int(ignore_eos),
            seed=unsigned("seed", seed, 64), no_special_tokens=int(not add_special),
            whole_prompt=int(whole_prompt),
            top_logprobs=unsigned("top_logprobs", top_logprobs, 32))
        _set_stop(options, [stop] if isinstance(stop, str) else list(stop))
        handle = self._settled()
        run = Run(on_logits)
        if on_logits is not None:
            options.on_logits = ON_LOGITS
        if top_logprobs:
            options.on_logprobs = ON_LOGPROBS
        options.sampling_user_data = run.number
        try:
            if isinstance(prompt, str):
                _start_text(handle, prompt, options, run)
            else:
                _start_tokens(handle, prompt, options, run)
        except BaseException:
            run.drop()
            raise
        self._run = run
        return Generation(self, run, lambda: library().sluice_session_cancel(handle))

    # ---- state

    @property
    def position(self) -> int:
        """Tokens in the KV cache, as of the last call that has returned."""
        return int(library().sluice_session_position(self._settled()))

    @property
    def tokens(self) -> IntArray:
        """The tokens at positions [0, position)."""
        ids = np.empty(self.position, dtype=np.int32)
        count = ctypes.c_size_t()
        self._check(library().sluice_session_tokens_copy(self._settled(), address(ids), ids.size,
                                                         byref(count)))
        return ids[:count.value]

    def reset(self) -> None:
        """Back to position 0."""
        self._check(library().sluice_session_reset(self._settled()))

    def rewind(self, position: int) -> None:
        """Back to an earlier position: forgets what came after it."""
        self._check(library().sluice_session_rewind(self._settled(),
                                                    unsigned("position", position, 32)))

    def clone(self) -> "Session":
        """A second session with the same tokens. BadState: all max_sessions are taken."""
        return Session(self._model, _clone_of=self)

    def save(self, path: Path) -> None:
        """Writes tokens and KV cache to a file, which appears complete or not at all."""
        self._check(library().sluice_session_save(self._settled(), path_bytes(path)))

    def load(self, path: Path) -> None:
        """Takes on what save() wrote, with the same model and types; else nothing changes."""
        self._check(library().sluice_session_load(self._settled(), path_bytes(path)))

    @property
    def stats(self) -> Stats:
        stats = s.CStats()
        self._check(library().sluice_session_stats_copy(self._settled(), byref(stats)))
        return s.to_dataclass(Stats, stats)

    def reset_stats(self) -> None:
        self._check(library().sluice_session_stats_reset(self._settled()))

    def cancel(self) -> None:
        """Makes the call that runs, or the next one, return soon: with Cancelled, or for a
        generation with finish_reason "cancelled". Any thread, at any time."""
        handle = self._handle()
        run = self._run
        if run is not None and not run.finished.is_set():
            run.stop(lambda: library().sluice_session_cancel(handle))
        else:
            library().sluice_session_cancel(handle)

    def close(self) -> None:
        """Closes it; a call that runs is cancelled and waited for. Any thread, at any time."""
        handle, run = self._value, self._run  # once: another thread may be closing it, too
        waits = run is not None and not run.finished.is_set()
        if handle is not None and run is not None and waits and self._process == os.getpid():
            run.stop(lambda: library().sluice_session_cancel(handle))  # it may wait for its reader
        super().close()

    def __repr__(self) -> str:
        return "<sluice.Session, closed>" if self.closed else f"<sluice.Session at {self.position}>"


def _set_stop(options: s.CGenerateOptions, stop: List[str]) -> None:
    texts = [text.encode("utf-8", "replace") for text in stop]
    if any(b"\0" in text for text in texts):
        raise ValueError("a stop string has no NUL in it")
    if texts:
        # The array keeps the texts, and the struct the array.
        options.stop = (ctypes.c_char_p * len(texts))(*texts)
        options.stop_count = len(texts)


def _start_text(handle: int, prompt: str, options: s.CGenerateOptions, run: Run) -> None:
    data = prompt.encode("utf-8", "replace")
    check(library().sluice_session_generate_start(handle, data, len(data), byref(options), ON_TOKEN,
                                                  ON_DONE, run.number))


def _start_tokens(handle: int, prompt: Tokens, options: s.CGenerateOptions, run: Run) -> None:
    ids = token_array(prompt)
    check(library().sluice_session_generate_tokens_start(
        handle, address(ids), ids.size, byref(options), ON_TOKEN, ON_DONE, run.number))
