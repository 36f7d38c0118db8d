"""Memory of ONNX files: by hand, and against the same networks in PyTorch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from nas.config.settings import ExportSettings
from nas.errors import ConfigError
from nas.measuring.memory.network_memory import memory_of
from nas.measuring.memory.onnx_memory import onnx_memory
from nas.network.network import Network
from nas.space.design import load_design
from nas.stages.export import onnx_model
from search_spaces import all_spaces

IMAGE = ["N", 3, "H", "W"]


def model_of(nodes, weights=(), shape=IMAGE, output=("y", TensorProto.FLOAT)):
    graph = helper.make_graph(
        nodes,
        "other",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(*output, None)],
        initializer=[numpy_helper.from_array(value, name) for name, value in weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


@pytest.mark.parametrize("name", ["squeezenas/lat_small", "fasterseg/student", "zoo/swiftnet_rn18"])
def test_an_exported_file_takes_what_its_network_takes(name):
    """Batch norms are folded in the file, and a few sizes are constants there."""
    size = (64, 96)
    design = load_design(name, all_spaces())
    graph = design.deployed(replace(design.deployment, input=size)).graph
    ours = memory_of(graph)
    file = onnx_memory(onnx_model(Network(graph).eval(), size, ExportSettings(output="labels")))
    assert (file.activations, file.body) == (ours.activations, ours.body)
    assert 0.95 * ours.weights < file.weights < ours.weights
    assert file.eager is None


def test_a_file_by_hand():
    """A view makes no map, a constant is a weight, a weight that nothing reads is none."""
    weights = [("w", np.zeros((8, 3, 1, 1), np.float32)), ("unread", np.zeros(99, np.float32)), ("to", np.array([1, -1], np.int64))]
    constant = helper.make_node("Constant", [], ["half"], value=numpy_helper.from_array(np.float32([0.5])))
    nodes = [
        constant,
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Mul", ["b", "half"], ["c"]),
        helper.make_node("Reshape", ["c", "to"], ["d"]),
        helper.make_node("Softmax", ["d"], ["y"]),
    ]
    found = onnx_memory(model_of(nodes, weights), (4, 5))
    assert found.weights == 4 * 24 + 4 + 8 * 2
    assert (found.activations, found.at) == (4 * 20 * (8 + 8), "Softmax 1x160")


def test_sizes_of_the_file_stand_and_free_ones_are_as_stated():
    relu = [helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[1, 1])]
    assert onnx_memory(model_of(relu), (4, 5)).activations == 2 * 4 * 3 * 20
    assert onnx_memory(model_of(relu, shape=[1, 3, 6, 7]), (4, 5)).activations == 2 * 4 * 3 * 42
    assert onnx_memory(model_of(relu, shape=[2, 3, 6, 7])).activations == 2 * 2 * 4 * 3 * 42
    with pytest.raises(ConfigError, match="the input: the size of its map 'x' does not follow from the file; give the size"):
        onnx_memory(model_of(relu))


def test_a_map_whose_size_depends_on_values_is_an_error():
    nodes = [helper.make_node("NonZero", ["x"], ["y"], name="found")]
    with pytest.raises(ConfigError, match="NonZero found: the size of its map 'y' does not follow"):
        onnx_memory(model_of(nodes, output=("y", TensorProto.INT64)), (4, 5))


def test_the_model_given_stays_as_it_is():
    model = model_of([helper.make_node("Relu", ["x"], ["y"])])
    before = model.SerializeToString()
    onnx_memory(model, (4, 5))
    assert model.SerializeToString() == before
