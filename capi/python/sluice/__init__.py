"""Sluice: language models larger than the memory they are given.

    import sluice

    with sluice.Model("tales-7m.flash", dram_budget="64M") as model:
        session = model.session()
        for piece in session.generate("The old woman opened the door and", max_tokens=60):
            print(piece.text, end="", flush=True)

Needs libsluice, the shared library; importing the package does not load it yet. Errors are
sluice.SluiceError and its kinds.
"""

from ._library import library_version
from ._log import log_to
from ._options import ModelOptions
from ._version import __version__
from .backend import Backend, BackendStats, LayerInfo, Rows, RowViews
from .errors import (
    BadState, Cancelled, Corrupt, Internal, InvalidArgument, IoError, LibraryNotFound, NotFound,
    OutOfMemory, SluiceError, Unsupported,
)
from .generation import Generation, LogitsProcessor, Piece, TokenLogprob
from .model import MemoryPlan, Model, ModelInfo
from .session import Session, Stats
from .tools import (
    ConvertReport, DevicePoint, Evaluation, LayerQuality, TrainOptions, convert, device_measure,
    evaluate, inspect, train, verify,
)

__all__ = [
    "Backend", "BackendStats", "BadState", "Cancelled", "ConvertReport", "Corrupt", "DevicePoint",
    "Evaluation", "Generation", "Internal", "InvalidArgument", "IoError", "LayerInfo",
    "LayerQuality", "LibraryNotFound", "LogitsProcessor", "MemoryPlan", "Model", "ModelInfo",
    "ModelOptions", "NotFound", "OutOfMemory", "Piece", "RowViews", "Rows", "Session",
    "SluiceError", "Stats", "TokenLogprob", "TrainOptions", "Unsupported", "__version__", "convert",
    "device_measure", "evaluate", "inspect", "library_version", "log_to", "train", "verify",
]
