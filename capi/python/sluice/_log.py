"""The library's few remarks, to Python's logging."""

from __future__ import annotations

import atexit
import logging
from typing import Optional

from . import _structs as s
from ._library import library

_logger: Optional[logging.Logger] = None


def _log(level: int, text: bytes, number: Optional[int]) -> None:
    logger = _logger
    if logger is not None:
        try:
            logger.log(logging.WARNING if level >= 1 else logging.INFO, "%s",
                       text.decode("utf-8", "replace"))
        except Exception:  # a handler's mistake must not reach C
            pass


_LOG = s.LogFn(_log)
_NO_LOG = s.LogFn()


def log_to(logger: "Optional[logging.Logger | str]") -> None:
    """Sends the library's remarks to a logger, or to the one of that name; None drops them, which
    is the default. Process-wide. Handlers may run on threads of Sluice's and must not use it."""
    global _logger
    _logger = logging.getLogger(logger) if isinstance(logger, str) else logger
    library().sluice_log_set(_NO_LOG if _logger is None else _LOG, None)


@atexit.register
def _at_exit() -> None:
    if _logger is not None:
        log_to(None)
