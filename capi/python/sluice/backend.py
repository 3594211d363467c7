"""The feed-forward layers alone, for programs that keep their own attention and KV cache."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Iterator, Optional, Sequence, Tuple, Type, Union, overload

import numpy as np
import numpy.typing as npt

from . import _structs as s
from ._handle import Owner
from ._library import library
from ._options import FloatArray, address, byref, float_array, result_array, unsigned
from .errors import BadState, InvalidArgument

if TYPE_CHECKING:
    from .model import Model

NeuronArray = npt.NDArray[np.uint32]
# bf16 has no type in numpy: its bits, in 16-bit integers.
_DTYPES: "Tuple[np.dtype[Any], ...]" = (
    np.dtype(np.float32), np.dtype(np.float16), np.dtype(np.uint16))


@dataclass(frozen=True)
class LayerInfo:
    """One feed-forward layer."""

    d_model: int
    d_ffn: int
    element: str              # of the rows: "f32", "f16", "bf16"
    neurons_per_record: int   # neurons [k * this, (k + 1) * this) are read together
    num_records: int
    num_slots: int            # records that can be held at one time
    has_predictor: bool
    has_lookahead: bool       # hint() does something
    up_bias: Optional[FloatArray]    # [d_ffn], by neuron id
    down_bias: Optional[FloatArray]  # [d_model]


@dataclass(frozen=True)
class BackendStats:
    """Sums since the backend was made."""

    tokens: int             # that went through a layer, summed over layers
    records_needed: int
    records_missing: int    # of those, not in DRAM
    reads: int              # requests to storage
    bytes: int              # from storage
    neurons_predicted: int
    neurons_active: int     # of those that were computed here, with non-zero output
    io_ms: float            # waited for reads
    total_ms: float
    direct_io: bool         # reads bypass the page cache


class RowViews(Sequence["npt.NDArray[Any]"]):
    """Rows of d_model elements each, as read-only numpy views of the library's memory.

    Good until the Rows they belong to are released; copy what is needed longer. f32 and f16 come as
    such, bf16 as the bits in uint16. copy() and numpy.asarray() give all of them as one new array.
    """

    def __init__(self, rows: "Rows", addresses: Any, count: int) -> None:
        self._rows = rows
        self._addresses = addresses
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> "npt.NDArray[Any]": ...
    @overload
    def __getitem__(self, index: slice) -> "Sequence[npt.NDArray[Any]]": ...

    def __getitem__(self, index: Union[int, slice]) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        position = index + self._count if index < 0 else index
        if not 0 <= position < self._count:
            raise IndexError("no such row")
        return self._view(position)

    def __iter__(self) -> "Iterator[npt.NDArray[Any]]":
        return (self._view(i) for i in range(self._count))

    def _view(self, position: int) -> "npt.NDArray[Any]":
        rows = self._rows
        rows._check_held()
        memory: Any = (ctypes.c_char * rows._row_bytes).from_address(self._addresses[position])
        memory._owner = rows  # the view keeps the backend, and so the memory
        view: "npt.NDArray[Any]" = np.frombuffer(memory, dtype=rows.dtype)
        view.flags.writeable = False
        return view

    def copy(self) -> "npt.NDArray[Any]":
        """[len, d_model], to be kept."""
        rows = self._rows
        rows._check_held()
        result = np.empty((self._count, rows._row_bytes // rows.dtype.itemsize), dtype=rows.dtype)
        first = address(result)
        for i in range(self._count):
            ctypes.memmove(first + i * rows._row_bytes, self._addresses[i], rows._row_bytes)
        return result

    def __array__(self, dtype: Any = None, copy: Optional[bool] = None) -> "npt.NDArray[Any]":
        result = self.copy()
        return result if dtype is None else result.astype(dtype)


class Rows:
    """Rows that are held in DRAM, from Backend.acquire(): a context manager.

    up[i] is the row of the up projection of neurons[i], down[i] the column of its down projection.
    """

    def __init__(self, backend: "Backend", layer: int, neurons: NeuronArray, element: int,
                 d_model: int, pointers: "Tuple[Any, Any]") -> None:
        self._backend: Optional[Backend] = backend
        self._keep = backend
        self.layer = layer
        self.neurons = neurons
        self.dtype = _DTYPES[element]
        self._row_bytes = d_model * self.dtype.itemsize
        self.up = RowViews(self, pointers[0], neurons.size)
        self.down = RowViews(self, pointers[1], neurons.size)

    def _check_held(self) -> None:
        if self._backend is None or self._backend.closed:
            raise BadState("these rows were released")

    def release(self) -> None:
        """Gives the rows back; once they are, does nothing."""
        backend, self._backend = self._backend, None
        if backend is not None and not backend.closed:
            backend._check(library().sluice_backend_release(backend._handle(), self.layer))

    def __enter__(self) -> "Rows":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 traceback: Optional[TracebackType]) -> None:
        self.release()


class Backend(Owner):
    """The feed-forward layers of a model: whole, or the rows of single neurons.

        model = sluice.Model("opt.flash", ffn_only=True)
        with model.backend() as backend:
            y = backend.forward(layer, x)

    Takes one of the model's max_sessions and keeps the model alive. Threads: as for a Session: one
    call at a time, on any thread. x is always what the model's own layer gets, after its norm.
    """

    _kind = "backend"

    def __init__(self, model: "Model") -> None:
        self._model = model
        out = ctypes.c_void_p()
        model._check(library().sluice_backend_create(model._handle(), byref(out)))
        assert out.value is not None
        self._own(out.value)
        self._d_model = model.info.d_model
        self._d_ffn = model.info.d_ffn

    @property
    def model(self) -> "Model":
        return self._model

    def _check(self, status: int) -> None:
        self._model._check(status)

    def _layer(self, layer: int) -> s.CLayerInfo:
        info = s.CLayerInfo()
        self._check(library().sluice_backend_layer_copy(
            self._handle(), unsigned("layer", layer, 32), byref(info)))
        return info

    def layer(self, layer: int) -> LayerInfo:
        """What layer `layer` is; the biases are copies."""
        info = self._layer(layer)
        return s.to_dataclass(LayerInfo, info, element=s.ELEMENTS[info.element],
                              up_bias=_copy(info.up_bias, info.d_ffn),
                              down_bias=_copy(info.down_bias, info.d_model))

    def forward(self, layer: int, x: Any, *, out: Optional[FloatArray] = None) -> FloatArray:
        """down(activation(up(x))) with biases, over the neurons that the predictor names.

        x: [d_model], or [..., d_model] for many tokens, any array of numbers; float32 and
        contiguous is not copied. Result and `out`: float32, shape of x; out may not overlap x. The
        bits are those of a session of the same model.
        """
        inputs = float_array("x", x, self._d_model)
        result = result_array("out", out, inputs.shape)
        if out is not None and np.may_share_memory(inputs, result):
            raise InvalidArgument("out may not overlap x")
        tokens = inputs.size // self._d_model
        if tokens:
            self._check(library().sluice_backend_forward(
                self._handle(), unsigned("layer", layer, 32), tokens, address(inputs),
                address(result)))
        return result

    def predict(self, layer: int, x: Any) -> NeuronArray:
        """The neurons that one token needs, ascending. Reads nothing."""
        inputs = self._one_token(x)
        neurons = np.empty(self._d_ffn, dtype=np.uint32)
        count = ctypes.c_size_t()
        self._check(library().sluice_backend_predict(
            self._handle(), unsigned("layer", layer, 32), address(inputs), address(neurons),
            neurons.size, byref(count)))
        found: NeuronArray = neurons[:count.value].copy()
        return found

    def acquire(self, layer: int, neurons: Any, *, more: bool = False) -> Rows:
        """Brings the rows of neurons into DRAM and holds them:

            with backend.acquire(layer, backend.predict(layer, x)) as rows:
                for neuron, up, down in zip(rows.neurons, rows.up, rows.down): ...

        neurons: ids, strictly ascending, at most num_slots records of them at a time. more: they
        belong to the token of the acquire before on this layer.
        """
        ids = np.array(neurons, copy=True)
        if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
            raise InvalidArgument("neurons are integers, in one dimension")
        if ids.size and (ids.min() < 0 or ids.max() >= self._d_ffn):
            raise InvalidArgument(f"neurons are ids from 0 to {self._d_ffn - 1}")
        ids = np.ascontiguousarray(ids, dtype=np.uint32)
        info = self._layer(layer)
        up, down = (ctypes.c_void_p * ids.size)(), (ctypes.c_void_p * ids.size)()
        self._check(library().sluice_backend_acquire(self._handle(), layer, address(ids), ids.size,
                                                     int(more), up, down))
        ids.flags.writeable = False
        return Rows(self, layer, ids, info.element, info.d_model, (up, down))

    def hint(self, layer: int, x: Any) -> None:
        """Starts reading what `layer` will probably need. x: input of the layer before it. Returns
        at once; a wrong guess costs reads, never results."""
        inputs = self._one_token(x)
        self._check(library().sluice_backend_hint(self._handle(), unsigned("layer", layer, 32),
                                                  address(inputs)))

    def _one_token(self, x: Any) -> FloatArray:
        inputs = float_array("x", x, self._d_model)
        if inputs.size != self._d_model:
            raise InvalidArgument(f"x is one token, not {inputs.size // self._d_model}")
        return inputs

    def cancel(self) -> None:
        """As Session.cancel()."""
        library().sluice_backend_cancel(self._handle())

    @property
    def stats(self) -> BackendStats:
        stats = s.CBackendStats()
        self._check(library().sluice_backend_stats_copy(self._handle(), byref(stats)))
        return s.to_dataclass(BackendStats, stats)


def _copy(values: Any, count: int) -> Optional[FloatArray]:
    if not values:
        return None
    result = np.empty(count, dtype=np.float32)
    ctypes.memmove(address(result), values, 4 * count)
    return result
