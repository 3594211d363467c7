"""Python's options to C's."""

from __future__ import annotations

import ctypes
import os
import re
from typing import TYPE_CHECKING, Any, Dict, Iterable, Optional, Tuple, Union

import numpy as np
import numpy.typing as npt

from . import _structs as s
from ._library import path_bytes
from .errors import InvalidArgument

if TYPE_CHECKING:
    from typing_extensions import TypedDict
else:
    from typing import TypedDict

Path = Union[str, "os.PathLike[str]"]
Tokens = Union["npt.NDArray[np.integer[Any]]", Iterable[int]]
IntArray = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float32]


class ModelOptions(TypedDict, total=False):
    """How a model is opened. What is left out, or None, is the library's default."""

    dram_budget: Union[int, str, None]  # bytes, or "64M", "1.5G": everything in DRAM
    context_tokens: Optional[int]       # tokens that a session holds
    max_sessions: Optional[int]         # at one time; default 1
    window_tokens: Optional[int]        # neuron window; default: as many as the slots hold
    mode: str                           # "auto", "sparse", "dense"
    engine: str                         # "auto", "uring", "pread"
    threads: Optional[int]              # of compute; default: all that the process may use
    queue_depth: Optional[int]          # reads in flight; default 128
    prefill_chunk_tokens: Optional[int]  # default 32
    skip_verify: bool                   # do not check the checksums of what is read
    resident_type: str                  # "auto", "q8": attention and embeddings in 8 bits
    kv_type: str                        # "f32", "f16"
    ffn_only: bool                      # only what a Backend needs
    disabled: Iterable[str]             # techniques to leave out, for measurements: "window", ...
    device_curve: Optional[Path]        # what reads cost here, from device_measure()


_SHIFTS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


def size_in_bytes(size: Union[int, str]) -> int:
    """64 << 20, "64M", "64MiB", "1.5G"; K, M, G, T are powers of 1024."""
    if isinstance(size, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", size, re.IGNORECASE)
        if match is None:
            raise InvalidArgument(f"not a size: {size!r}; write it as 67108864, '64M' or '1.5G'")
        return int(float(match[1]) * (1 << _SHIFTS[match[2].upper()]))
    return unsigned("a size", size, 64)


def unsigned(name: str, value: Any, bits: int) -> int:
    """`value` as the C member takes it: ctypes would cut off what does not fit."""
    try:
        number = int(value.__index__())
    except AttributeError:
        raise TypeError(f"{name} is an int, not {type(value).__name__}") from None
    if not 0 <= number < 1 << bits:
        raise InvalidArgument(f"{name} is {number}; it takes 0 to {(1 << bits) - 1}")
    return number


def choice(name: str, value: str, choices: Dict[str, int]) -> int:
    try:
        return choices[value]
    except (KeyError, TypeError):
        raise InvalidArgument(f"{name} is {value!r}; it takes {', '.join(choices)}") from None


_NUMBERS = ("context_tokens", "max_sessions", "window_tokens", "threads", "queue_depth",
            "prefill_chunk_tokens")
_CHOICES = {"mode": s.MODES, "engine": s.ENGINES, "resident_type": s.RESIDENT_TYPES,
            "kv_type": s.KV_TYPES}


def model_options(options: "ModelOptions") -> s.CModelOptions:
    given: Dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    c = s.CModelOptions()
    for name, value in given.items():
        if name in _NUMBERS:
            setattr(c, name, unsigned(name, value, 32))
        elif name in _CHOICES:
            setattr(c, name, choice(name, value, _CHOICES[name]))
        elif name == "dram_budget":
            c.dram_budget_bytes = size_in_bytes(value)
        elif name in ("skip_verify", "ffn_only"):
            setattr(c, name, int(bool(value)))
        elif name == "disabled":
            for technique in (value,) if isinstance(value, str) else value:
                c.disabled |= choice(name, technique, s.DISABLE)
        elif name == "device_curve":
            c.device_curve_path = path_bytes(value)
        else:
            raise TypeError(f"no option is called {name!r}")
    return c


def token_array(tokens: Tokens) -> IntArray:
    """Token ids as contiguous int32, the caller's own array where it is that already."""
    array = np.asarray(tokens if isinstance(tokens, np.ndarray) else list(tokens))
    if array.ndim != 1:
        raise InvalidArgument(f"tokens have one dimension, not {array.ndim}")
    if array.size == 0:
        return np.zeros(0, dtype=np.int32)
    if array.dtype.kind not in "iu":
        raise TypeError(f"tokens are integers, not {array.dtype}")
    limits = np.iinfo(np.int32)
    if array.min() < limits.min or array.max() > limits.max:
        raise InvalidArgument("a token id does not fit 32 bits")
    return np.ascontiguousarray(array, dtype=np.int32)


def float_array(name: str, values: Any, width: int) -> FloatArray:
    """Contiguous float32 whose last dimension is `width`."""
    array = np.ascontiguousarray(values, dtype=np.float32)
    if array.ndim == 0 or array.shape[-1] != width:
        raise InvalidArgument(f"{name} has shape {array.shape}; its last dimension is {width}")
    return array


def result_array(name: str, out: Optional[FloatArray], shape: Tuple[int, ...]) -> FloatArray:
    """`out` after a look at it, or a new array. What C writes to has to be exactly that."""
    if out is None:
        return np.empty(shape, dtype=np.float32)
    if not isinstance(out, np.ndarray) or out.dtype != np.float32 or out.shape != shape:
        raise InvalidArgument(f"{name} is a float32 array of shape {shape}")
    if not out.flags.c_contiguous or not out.flags.writeable:
        raise InvalidArgument(f"{name} is contiguous and writeable")
    return out


def address(array: "npt.NDArray[Any]") -> int:
    return int(array.ctypes.data)


def byref(thing: Any) -> Any:
    return ctypes.byref(thing)
