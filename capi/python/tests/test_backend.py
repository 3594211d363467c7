"""The feed-forward layers alone."""

import gc
import json
import struct
import weakref

import numpy as np
import pytest

import sluice

LAYERS, D_MODEL, D_FFN = 8, 256, 1024


@pytest.fixture(scope="module")
def ffn_model(model_path):
    with sluice.Model(model_path, dram_budget="32M", ffn_only=True, mode="dense",
                      max_sessions=2) as model:
        yield model


@pytest.fixture
def backend(ffn_model):
    with ffn_model.backend() as backend:
        yield backend


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(5).standard_normal((40, D_MODEL)).astype(np.float32)


@pytest.fixture(scope="module")
def weights(source):
    """fc1 and fc2 of the checkpoint that the model was made from, read with numpy alone."""
    data = (source / "examples" / "models" / "tales-7m" / "model.safetensors").read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])

    def tensor(name):
        entry = next(value for key, value in header.items() if key.endswith(name))
        assert entry["dtype"] == "F16"
        begin, end = entry["data_offsets"]
        return np.frombuffer(data[8 + size + begin:8 + size + end], dtype=np.float16).reshape(
            entry["shape"]).astype(np.float32)

    return tensor


def test_layer(backend):
    info = backend.layer(3)
    assert (info.d_model, info.d_ffn, info.element) == (D_MODEL, D_FFN, "f16")
    assert info.num_records * info.neurons_per_record >= D_FFN and info.num_slots > 0
    assert info.up_bias.shape == (D_FFN,) and info.down_bias.shape == (D_MODEL,)
    with pytest.raises(sluice.InvalidArgument):
        backend.layer(LAYERS)


def test_forward(backend, weights, x):
    for layer in (0, 7, 3):
        y = backend.forward(layer, x)
        name = f"decoder.layers.{layer}."
        up = np.maximum(x @ weights(name + "fc1.weight").T + weights(name + "fc1.bias"), 0)
        expected = up @ weights(name + "fc2.weight").T + weights(name + "fc2.bias")
        np.testing.assert_allclose(y, expected, atol=2e-4 * np.abs(expected).max())
        # The bits do not depend on how many tokens go together, nor on their shape.
        np.testing.assert_array_equal(backend.forward(layer, x.reshape(2, 20, D_MODEL)),
                                      y.reshape(2, 20, D_MODEL))
        np.testing.assert_array_equal(backend.forward(layer, x[7]), y[7])
        out = np.empty_like(x)
        assert backend.forward(layer, x, out=out) is out
        np.testing.assert_array_equal(out, y)


def test_bits_of_other_budgets(model_path, backend, x):
    expected = [backend.forward(layer, x) for layer in range(LAYERS)]
    plan = sluice.Model.plan_for(model_path, dram_budget="1G", ffn_only=True, mode="dense")
    for budget in (plan.floor_bytes, plan.recommended_bytes, "1G"):
        with sluice.Model(model_path, dram_budget=budget, ffn_only=True, mode="dense") as model:
            with model.backend() as other:
                for layer in range(LAYERS):
                    np.testing.assert_array_equal(other.forward(layer, x), expected[layer])


def test_bad_arguments(backend, x):
    with pytest.raises(sluice.InvalidArgument):
        backend.forward(0, x[:, :100])
    with pytest.raises(sluice.InvalidArgument):
        backend.forward(LAYERS, x)
    with pytest.raises(sluice.InvalidArgument, match="overlap"):
        backend.forward(0, x, out=x)
    with pytest.raises(sluice.InvalidArgument):
        backend.hint(1, x)
    for neurons in ([3, 2], [2, 2], [D_FFN], [-1], [[1]], [0.5]):
        with pytest.raises(sluice.InvalidArgument):
            backend.acquire(0, neurons)
    assert backend.forward(0, x[:0]).shape == (0, D_MODEL)


def test_predict_is_everything_in_dense_mode(backend, x):
    np.testing.assert_array_equal(backend.predict(2, x[0]), np.arange(D_FFN))


def test_rows(backend, weights, x):
    """A feed-forward layer of one's own, from the rows."""
    layer, token = 5, x[3]
    info = backend.layer(layer)
    name = f"decoder.layers.{layer}."
    y = info.down_bias.copy()
    step = min(256, info.num_slots * info.neurons_per_record // 2)
    for first in range(0, D_FFN, step):
        neurons = np.arange(first, min(first + step, D_FFN))
        with backend.acquire(layer, neurons, more=first > 0) as rows:
            assert len(rows.up) == len(neurons) and rows.up[0].dtype == np.float16
            assert not rows.up[0].flags.writeable
            with pytest.raises(ValueError):
                rows.up[0][0] = 1
            np.testing.assert_array_equal(rows.up[-1], rows.up.copy()[-1])
            up, down = np.asarray(rows.up), rows.down.copy()
            for view, row in zip(rows.down, down):
                np.testing.assert_array_equal(view, row)
            with pytest.raises(sluice.BadState):
                backend.acquire(layer, neurons)
        np.testing.assert_array_equal(up, weights(name + "fc1.weight")[neurons].astype(np.float16))
        activation = np.maximum(up.astype(np.float32) @ token + info.up_bias[neurons], 0)
        y += activation @ down.astype(np.float32)
    np.testing.assert_allclose(y, backend.forward(layer, token), atol=1e-3)


def test_rows_after_release(backend):
    rows = backend.acquire(0, [0, 5])
    rows.release()
    rows.release()
    for use in (lambda: rows.up[0], rows.down.copy, lambda: list(rows.up)):
        with pytest.raises(sluice.BadState):
            use()
    with pytest.raises(IndexError):
        with backend.acquire(0, [0, 5]) as rows:
            rows.up[2]
    backend.acquire(0, [1])
    backend.close()  # releases


def test_views_keep_the_memory(model_path):
    model = sluice.Model(model_path, dram_budget="32M", ffn_only=True)
    backend = model.backend()
    alive = weakref.ref(backend)
    view = backend.acquire(0, [7]).up[0]
    expected = view.copy()
    del backend, model
    gc.collect()
    assert alive() is not None
    np.testing.assert_array_equal(view, expected)
    del view
    gc.collect()
    assert alive() is None


def test_stats(backend, x):
    assert backend.stats.tokens == 0
    backend.forward(0, x)
    stats = backend.stats
    assert stats.tokens == 40 and stats.records_needed >= stats.records_missing
    assert stats.total_ms > 0
    backend.hint(1, x[0])
    backend.cancel()
    with pytest.raises(sluice.Cancelled):
        backend.forward(0, x)
    backend.forward(0, x)


def test_a_session_needs_more(ffn_model):
    with pytest.raises(sluice.BadState, match="ffn_only"):
        ffn_model.session()
