"""Builds the operator, and runs a graph with it: bits of Sluice's own backend.

ONNXRUNTIME_INCLUDE says where onnxruntime_c_api.h is, if not in /usr/include/onnxruntime.
"""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "capi" / "python"))

import sluice  # noqa: E402

LAYERS, D_MODEL, BUDGET = 8, 256, 32 << 20


@pytest.fixture(scope="module")
def bundle():
    return os.environ["SLUICE_TEST_MODEL"]


@pytest.fixture(scope="module")
def operator(tmp_path_factory):
    """The path of the built library."""
    include = os.environ.get("ONNXRUNTIME_INCLUDE") or "/usr/include/onnxruntime"
    if not os.path.exists(os.path.join(include, "onnxruntime_c_api.h")):
        pytest.skip("onnxruntime_c_api.h is not here: set ONNXRUNTIME_INCLUDE")
    library = pathlib.Path(os.environ["SLUICE_LIBRARY"])
    built = tmp_path_factory.mktemp("operator") / "libsluice_ffn_op.so"
    subprocess.run([*os.environ.get("CXX", "c++").split(), "-std=c++17", "-O2", "-fPIC", "-shared",
                    "-fvisibility=hidden", "-Wall", "-Wextra", f"-I{include}",
                    f"-I{os.environ['SLUICE_TEST_INCLUDE']}", f"-I{HERE.parent.parent}/capi/include",
                    str(HERE / "sluice_ffn_op.cc"), str(library), f"-Wl,-rpath,{library.parent}",
                    "-o", str(built)], check=True)
    return str(built)


def graph_of(nodes):
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes, "ffn", [value("x", onnx.TensorProto.FLOAT, ["batch", "time", "width"])],
        [value("y", onnx.TensorProto.FLOAT, None)])
    return onnx.helper.make_model(graph, ir_version=8, opset_imports=[
        onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("sluice", 1)])


def ffn(x, y, layer, **attributes):
    return onnx.helper.make_node("SluiceFfn", [x], [y], domain="sluice", layer=layer, **attributes)


def session_of(operator, nodes):
    options = ort.SessionOptions()
    options.register_custom_ops_library(operator)
    return ort.InferenceSession(graph_of(nodes).SerializeToString(), options,
                                providers=["CPUExecutionProvider"])


def test_layers_in_a_graph(operator, bundle):
    """h + ffn(h), layer after layer."""
    nodes, at = [], "x"
    for layer in range(LAYERS):
        after = "y" if layer + 1 == LAYERS else f"h{layer}"
        nodes.append(ffn(at, f"f{layer}", layer, model=bundle, dram_budget=BUDGET, dense=1))
        nodes.append(onnx.helper.make_node("Add", [at, f"f{layer}"], [after]))
        at = after
    session = session_of(operator, nodes)
    x = np.random.default_rng(2).standard_normal((2, 5, D_MODEL)).astype(np.float32)
    expected = x
    with sluice.Model(bundle, ffn_only=True, mode="dense", dram_budget=BUDGET) as model:
        with model.backend() as backend:
            for layer in range(LAYERS):
                expected = expected + backend.forward(layer, expected)
    for _ in range(2):
        np.testing.assert_array_equal(session.run(None, {"x": x})[0], expected)
    assert session.run(None, {"x": x[:, :0]})[0].shape == (2, 0, D_MODEL)
    with pytest.raises(Exception, match="last dimension of x is 100, not 256"):
        session.run(None, {"x": x[:, :, :100]})


@pytest.mark.parametrize("attributes, message", [
    ({"layer": LAYERS}, "no layer 8"),
    ({"layer": 0, "dram_budget": 1000}, "floor"),
    ({"layer": 0, "dram_budget": -1}, "dram_budget is -1"),
    ({"layer": 0, "model": "none.flash"}, "none.flash"),
])
def test_bad_attributes(operator, bundle, attributes, message):
    with pytest.raises(Exception, match=message):
        session_of(operator, [ffn("x", "y", **{"model": bundle, **attributes})])
