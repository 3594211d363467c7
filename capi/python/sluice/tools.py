"""Making bundle files, teaching them predictors, looking into them, measuring.

Each blocks, some for minutes. progress(stage, done) is called on the calling thread with the share
that is done, 0 to 1; what it raises ends the call and comes out of it. So does Ctrl-C.
"""

from __future__ import annotations

import ctypes
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Union

from . import _structs as s
from ._callbacks import STAGE, Blocking, StageCallback, find
from ._library import check, library, path_bytes
from ._options import Path, byref, choice, size_in_bytes, unsigned
from .errors import Corrupt, SluiceError

if TYPE_CHECKING:
    from .model import Model


@dataclass(frozen=True)
class TrainOptions:
    """How predictors are trained. Zero is the library's default."""

    rank: int = 0                 # of all layers' predictors; 0: what each needs
    parameter_share: float = 0.0  # with rank 0: of the model's parameters at most; 0: 0.075
    seed: int = 0
    threads: int = 0

    def _c(self) -> s.CTrainOptions:
        return s.CTrainOptions(rank=unsigned("rank", self.rank, 32),
                               parameter_share=self.parameter_share,
                               seed=unsigned("seed", self.seed, 64),
                               threads=unsigned("threads", self.threads, 32))


@dataclass(frozen=True)
class ConvertReport:
    has_tokenizer: bool
    records: int
    record_bytes: int    # of one
    bytes: int           # of the file, all parts together
    seconds: float
    peak_rss_bytes: int  # of the process
    num_parts: int       # 1: one file
    num_layers: int      # that got predictors


@dataclass(frozen=True)
class LayerQuality:
    """Measured on calibration text that was held out of the training. Fractions of d_ffn."""

    layer: int
    rank: int
    recall: float               # truly active neurons that were predicted
    precision: float            # predicted neurons that were truly active
    active_fraction: float
    predicted_fraction: float
    lookahead_recall: float     # of the guess made one layer early; 0 for the first layer
    lookahead_precision: float


@dataclass(frozen=True)
class Evaluation:
    perplexity: float  # exp of the mean negative log-likelihood per token of text
    tokens: int        # that were predicted
    recall: float      # means over layers and tokens
    precision: float
    active_fraction: float
    predicted_fraction: float


@dataclass(frozen=True)
class DevicePoint:
    read_bytes: int
    queue_depth: int
    gb_per_s: float     # 1e9 bytes
    us_per_read: float  # elapsed time over reads


def convert(source: Path, output: Path, *, calibration: Optional[Path] = None, dtype: str = "auto",
            device_curve: Optional[Path] = None, placement: bool = True,
            part_bytes: Union[int, str] = 0, train: Optional[TrainOptions] = None,
            progress: Optional[StageCallback] = None) -> ConvertReport:
    """A Hugging Face folder to a bundle file, which appears complete or not at all.

    calibration: a UTF-8 text file; predictors are trained on it, and neurons that are active
    together are placed side by side (unless placement is False). dtype: of the weights, "auto" (as
    they are), "f32", "f16", "bf16". part_bytes: cut into parts of at most so many bytes.
    """
    options = s.CConvertOptions(dtype=choice("dtype", dtype, s.DTYPES),
                                no_placement=int(not placement),
                                part_bytes=size_in_bytes(part_bytes))
    if calibration is not None:
        options.calibration_path = path_bytes(calibration)
    if device_curve is not None:
        options.device_curve_path = path_bytes(device_curve)
    if train is not None:
        options.train = ctypes.pointer(train._c())
    report = s.CConvertReport()
    with Blocking(progress) as call:
        call.check(library().sluice_convert(path_bytes(source), path_bytes(output), byref(options),
                                            byref(report), STAGE, call.number))
    return s.to_dataclass(ConvertReport, report)


def train(path: Path, calibration: Path, options: TrainOptions = TrainOptions(), *,
          progress: Optional[StageCallback] = None) -> List[LayerQuality]:
    """Trains a bundle file's predictors anew; a new file replaces the old one when all is done."""
    layers = (s.CLayerQuality * 1024)()
    count = ctypes.c_size_t()
    with Blocking(progress) as call:
        call.check(library().sluice_train(path_bytes(path), path_bytes(calibration),
                                          byref(options._c()), layers, len(layers), byref(count),
                                          STAGE, call.number))
    return [s.to_dataclass(LayerQuality, layers[i]) for i in range(min(count.value, len(layers)))]


def inspect(path: Path) -> Dict[str, Any]:
    """What is in a bundle file: what `sluice inspect --json` prints."""
    name = path_bytes(path)
    room = ctypes.create_string_buffer(1 << 16)
    count = ctypes.c_size_t()
    for _ in range(2):
        status = library().sluice_inspect(name, room, len(room), byref(count))
        if status == 0 or count.value < len(room):
            break
        room = ctypes.create_string_buffer(count.value + 1)
    check(status)
    found: Dict[str, Any] = json.loads(ctypes.string_at(room, count.value).decode("utf-8"))
    return found


class _Damage(Blocking):
    """A check that also collects lines."""

    def __init__(self, progress: Optional[StageCallback]) -> None:
        super().__init__(progress)
        self.lines: List[str] = []


def _on_damage(line: bytes, number: Optional[int]) -> int:
    call = find(number)
    if call is None:
        return 1
    call.lines.append(line.decode("utf-8", "replace"))
    return 0


_DAMAGE = s.DamageFn(_on_damage)


def verify(path: Path, *, progress: Optional[StageCallback] = None) -> int:
    """Checks every checksum; returns how many records there are. Reads the whole file.

    Corrupt: it is damaged; the exception's `damage` lists the places: file, section, layer,
    neurons, expected and found.
    """
    records = ctypes.c_uint64()
    call = _Damage(progress)
    with call:
        try:
            call.check(library().sluice_verify(path_bytes(path), byref(records), _DAMAGE, STAGE,
                                               call.number))
        except Corrupt as error:
            error.damage = call.lines
            raise
    return records.value


def evaluate(model: "Model", text: str, *, window_tokens: int = 0, max_tokens: int = 0,
             progress: Optional[StageCallback] = None) -> Evaluation:
    """Perplexity of a text, and how well the predictors do on it. Takes one session of the model.

    window_tokens: the text is cut into pieces of so many; 0: 256, or what the context holds.
    max_tokens: 0: all.
    """
    data = text.encode("utf-8", "replace")
    evaluation = s.CEvaluation()
    with Blocking(progress) as call:
        try:
            call.check(library().sluice_evaluate(
                model._handle(), data, len(data), unsigned("window_tokens", window_tokens, 32),
                unsigned("max_tokens", max_tokens, 64), byref(evaluation), STAGE, call.number))
        except SluiceError as error:
            raise model._with_cause(error)
    return s.to_dataclass(Evaluation, evaluation)


def device_measure(path: Path, *, seconds: float = 0.0, curve: Optional[Path] = None,
                   progress: Optional[StageCallback] = None) -> List[DevicePoint]:
    """What reads cost on the storage that a file or folder lies on.

    seconds: for all points together; 0: 4. curve: where to save it, for Model's device_curve.
    """
    points = (s.CDevicePoint * 256)()
    count = ctypes.c_size_t()
    with Blocking(progress) as call:
        call.check(library().sluice_device_measure(
            path_bytes(path), seconds, None if curve is None else path_bytes(curve), points,
            len(points), byref(count), STAGE, call.number))
    return [s.to_dataclass(DevicePoint, points[i]) for i in range(min(count.value, len(points)))]
