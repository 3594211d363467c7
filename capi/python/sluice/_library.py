"""Finds libsluice, loads it once, and gives its functions their types.

Looked for in this order: the file that SLUICE_LIBRARY names, beside this package, where pkg-config
says, where the system's loader looks. ctypes drops the GIL during every call.
"""

from __future__ import annotations

import ctypes
import os
import pathlib
import subprocess
import sys
import threading
from ctypes import POINTER, c_char_p, c_double, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any, Dict, Iterator, List, Optional, Tuple

from . import _structs as s
from .errors import LibraryNotFound, Unsupported, error_of

ABI = 1
Handle = c_void_p

_Prototype = Tuple[Any, List[Any]]


def _status(*arguments: Any) -> _Prototype:
    return c_int32, list(arguments)


_P = POINTER
PROTOTYPES: Dict[str, _Prototype] = {
    "sluice_last_error_message": (c_char_p, []),
    "sluice_status_name": (c_char_p, [c_int32]),
    "sluice_version": (c_char_p, []),
    "sluice_abi": (c_uint32, []),
    "sluice_log_set": (None, [s.LogFn, c_void_p]),
    "sluice_model_options_init": _status(_P(s.CModelOptions), c_size_t),
    "sluice_generate_options_init": _status(_P(s.CGenerateOptions), c_size_t),
    "sluice_source_init": _status(_P(s.CSource), c_size_t),
    # model
    "sluice_model_plan": _status(c_char_p, _P(s.CModelOptions), _P(s.CMemoryPlan)),
    "sluice_model_open": _status(c_char_p, _P(s.CModelOptions), _P(Handle)),
    "sluice_source_plan": _status(_P(s.CSource), _P(s.CModelOptions), _P(s.CMemoryPlan)),
    "sluice_source_open": _status(_P(s.CSource), _P(s.CModelOptions), _P(Handle), s.StageFn,
                                  c_void_p),
    "sluice_model_close": (None, [Handle]),
    "sluice_model_info_copy": _status(Handle, _P(s.CModelInfo)),
    "sluice_model_plan_copy": _status(Handle, _P(s.CMemoryPlan)),
    "sluice_model_tokenize": _status(Handle, c_char_p, c_size_t, c_int32, c_void_p, c_size_t,
                                     _P(c_size_t)),
    "sluice_model_detokenize": _status(Handle, c_void_p, c_size_t, c_char_p, c_size_t,
                                       _P(c_size_t)),
    # session
    "sluice_session_create": _status(Handle, _P(Handle)),
    "sluice_session_close": (None, [Handle]),
    "sluice_session_position": (c_uint32, [Handle]),
    "sluice_session_reset": _status(Handle),
    "sluice_session_tokens_copy": _status(Handle, c_void_p, c_size_t, _P(c_size_t)),
    "sluice_session_rewind": _status(Handle, c_uint32),
    "sluice_session_clone": _status(Handle, _P(Handle)),
    "sluice_session_save": _status(Handle, c_char_p),
    "sluice_session_load": _status(Handle, c_char_p),
    "sluice_session_prefill": _status(Handle, c_void_p, c_size_t, c_void_p, s.ProgressFn, c_void_p),
    "sluice_session_decode": _status(Handle, c_int32, c_void_p),
    "sluice_session_generate": _status(Handle, c_char_p, c_size_t, _P(s.CGenerateOptions),
                                       _P(c_int32), s.TokenFn, c_void_p),
    "sluice_session_generate_tokens": _status(Handle, c_void_p, c_size_t, _P(s.CGenerateOptions),
                                              _P(c_int32), s.TokenFn, c_void_p),
    "sluice_session_generate_start": _status(Handle, c_char_p, c_size_t, _P(s.CGenerateOptions),
                                             s.TokenFn, s.DoneFn, c_void_p),
    "sluice_session_generate_tokens_start": _status(Handle, c_void_p, c_size_t,
                                                    _P(s.CGenerateOptions), s.TokenFn, s.DoneFn,
                                                    c_void_p),
    "sluice_session_cancel": (None, [Handle]),
    "sluice_session_stats_copy": _status(Handle, _P(s.CStats)),
    "sluice_session_stats_reset": _status(Handle),
    # backend
    "sluice_backend_create": _status(Handle, _P(Handle)),
    "sluice_backend_close": (None, [Handle]),
    "sluice_backend_layer_copy": _status(Handle, c_uint32, _P(s.CLayerInfo)),
    "sluice_backend_forward": _status(Handle, c_uint32, c_size_t, c_void_p, c_void_p),
    "sluice_backend_predict": _status(Handle, c_uint32, c_void_p, c_void_p, c_size_t,
                                      _P(c_size_t)),
    "sluice_backend_acquire": _status(Handle, c_uint32, c_void_p, c_size_t, c_uint32,
                                      _P(c_void_p), _P(c_void_p)),
    "sluice_backend_release": _status(Handle, c_uint32),
    "sluice_backend_hint": _status(Handle, c_uint32, c_void_p),
    "sluice_backend_cancel": (None, [Handle]),
    "sluice_backend_stats_copy": _status(Handle, _P(s.CBackendStats)),
    # tools
    "sluice_train_options_init": _status(_P(s.CTrainOptions), c_size_t),
    "sluice_convert_options_init": _status(_P(s.CConvertOptions), c_size_t),
    "sluice_convert": _status(c_char_p, c_char_p, _P(s.CConvertOptions), _P(s.CConvertReport),
                              s.StageFn, c_void_p),
    "sluice_train": _status(c_char_p, c_char_p, _P(s.CTrainOptions), _P(s.CLayerQuality), c_size_t,
                            _P(c_size_t), s.StageFn, c_void_p),
    "sluice_inspect": _status(c_char_p, c_char_p, c_size_t, _P(c_size_t)),
    "sluice_verify": _status(c_char_p, _P(c_uint64), s.DamageFn, s.StageFn, c_void_p),
    "sluice_evaluate": _status(Handle, c_char_p, c_size_t, c_uint32, c_uint64, _P(s.CEvaluation),
                               s.StageFn, c_void_p),
    "sluice_device_measure": _status(c_char_p, c_double, c_char_p, _P(s.CDevicePoint), c_size_t,
                                     _P(c_size_t), s.StageFn, c_void_p),
}


def _file_names() -> Tuple[str, ...]:
    if sys.platform == "darwin":
        return (f"libsluice.{ABI}.dylib", "libsluice.dylib")
    if sys.platform == "win32":
        return ("sluice.dll",)
    return (f"libsluice.so.{ABI}", "libsluice.so")


def _pkg_config_folder() -> Optional[str]:
    try:
        found = subprocess.run(["pkg-config", "--variable=libdir", "sluice"],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    folder = found.stdout.decode("utf-8", "replace").strip()
    return folder if found.returncode == 0 and folder else None


def _candidates() -> Iterator[Tuple[str, bool]]:
    """Files to try, and whether each has to be there before the loader is asked."""
    named = os.environ.get("SLUICE_LIBRARY")
    if named:
        yield named, False  # the user's word: no other will do
        return
    here = pathlib.Path(__file__).resolve().parent
    for folder in (here, here.parent):
        for name in _file_names():
            yield str(folder / name), True
    folder_said = _pkg_config_folder()
    if folder_said is not None:
        for name in _file_names():
            yield str(pathlib.Path(folder_said) / name), True
    for name in _file_names():
        yield name, False


def _load() -> ctypes.CDLL:
    refused = []
    for name, must_exist in _candidates():
        if must_exist and not os.path.exists(name):
            continue
        try:
            loaded = ctypes.CDLL(name)
            loaded.sluice_abi.restype = c_uint32
            abi = loaded.sluice_abi()
        except (OSError, AttributeError) as error:
            refused.append(f"{name}: {error}")
            continue
        if abi == ABI:
            return loaded
        refused.append(f"{name}: its ABI is {abi}, this package needs {ABI}")
    raise LibraryNotFound(
        "libsluice was not found. Install Sluice, or set SLUICE_LIBRARY to the path of "
        f"{_file_names()[0]}. Tried: " + "; ".join(refused))


class Library:
    """The C functions, typed. One that this libsluice lacks raises Unsupported when called."""

    def __init__(self, loaded: ctypes.CDLL) -> None:
        self._loaded = loaded
        for name, (result, arguments) in PROTOTYPES.items():
            try:
                function = getattr(loaded, name)
            except AttributeError:
                function = self._missing(name)
            else:
                function.restype, function.argtypes = result, arguments
            setattr(self, name, function)

    def __getattr__(self, name: str) -> Any:  # for type checkers: all are set above
        raise AttributeError(name)

    def _missing(self, name: str) -> Any:
        def missing(*_: Any) -> Any:
            raise Unsupported(f"this libsluice ({self.version()}) has no {name}()")

        return missing

    def version(self) -> str:
        self._loaded.sluice_version.restype = c_char_p
        text: bytes = self._loaded.sluice_version()
        return text.decode("ascii")


_lock = threading.Lock()
_library: Optional[Library] = None


def library() -> Library:
    """The library, loaded at the first call."""
    global _library
    if _library is None:
        with _lock:
            if _library is None:
                _library = Library(_load())
    return _library


def check(status: int) -> None:
    """Raises what a status means. Call it on the thread of the failed call, before any other."""
    if status != 0:
        text: bytes = library().sluice_last_error_message()
        raise error_of(status, text.decode("utf-8", "replace"))


def library_version() -> str:
    """The version of the libsluice that is loaded."""
    return library().version()


def path_bytes(path: "str | os.PathLike[str]") -> bytes:
    """A path as the library takes it: UTF-8, without a NUL."""
    text = os.fspath(path)
    if not isinstance(text, str):
        raise TypeError(f"a path is a str or os.PathLike, not {type(path).__name__}")
    encoded = text.encode("utf-8", "surrogateescape")
    if b"\0" in encoded:
        raise ValueError("a path has no NUL in it")
    return encoded
