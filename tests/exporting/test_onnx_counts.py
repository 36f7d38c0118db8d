"""Parameters and multiply-accumulates of ONNX graphs, counted by hand and as our own networks count them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import nas
from nas.exporting.folding import fold_batch_norms
from nas.exporting.onnx_counts import count_onnx_macs, count_onnx_parameters
from nas.exporting.onnx_file import read_onnx
from nas.exporting.onnx_graph import trace_onnx
from nas.reports.network_summary import count_macs
from nas.space.design import load_design
from search_spaces import SEARCH_SPACES
from tests.onnx_networks import PARAMETERS, macs_at, save_network


def model_of(nodes: list[onnx.NodeProto], images: dict[str, list[int]], weights: dict[str, list[int]]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "part",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in images.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


@pytest.mark.parametrize("size", [(16, 24), (64, 32)])
def test_a_network_is_counted_without_statistics_and_settings(size: tuple[int, int], tmp_path: Path) -> None:
    model = read_onnx(str(save_network(tmp_path / "net.onnx"))).at(size, batch=1).model
    assert count_onnx_parameters(model) == PARAMETERS
    assert count_onnx_macs(model) == macs_at(*size)


def test_operators_are_counted_by_their_formulas() -> None:
    node = helper.make_node
    cases = [
        ([node("Conv", ["x", "w"], ["y"], group=4, pads=[1, 1, 1, 1])], {"x": [2, 8, 5, 6]}, [12, 2, 3, 3], 2 * 12 * 5 * 6 * 2 * 9),
        ([node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2])], {"x": [1, 8, 5, 6]}, [8, 3, 2, 2], 8 * 5 * 6 * 3 * 4),
        ([node("MatMul", ["x", "w"], ["y"])], {"x": [2, 7, 5]}, [5, 3], 2 * 7 * 5 * 3),
        ([node("Gemm", ["x", "w"], ["y"], transA=1, transB=1)], {"x": [5, 7]}, [3, 5], 7 * 5 * 3),
        ([node("MatMul", ["x", "z"], ["y"])], {"x": [1, 4, 9, 6], "z": [1, 4, 6, 9]}, [1], 4 * 9 * 6 * 9),
        ([node("Relu", ["x"], ["y"])], {"x": [1, 2]}, [1], 0),
    ]
    for nodes, images, weight, expected in cases:
        assert count_onnx_macs(model_of(nodes, images, {"w": weight})) == expected


def test_nothing_is_counted_where_something_is_not_known() -> None:
    einsum = helper.make_node("Einsum", ["x", "w"], ["y"], equation="ab,bc->ac")
    other = helper.make_node("Mystery", ["x"], ["y"], domain="somewhere")
    for node in (einsum, other):
        assert count_onnx_macs(model_of([node], {"x": [2, 3]}, {"w": [3, 4]})) is None
    free = model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [2, 3]}, {"w": [3, 4]})
    free.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    assert count_onnx_macs(free) is None


def test_our_own_export_has_the_numbers_of_its_genotype() -> None:
    design = load_design("squeezenas/lat_small", SEARCH_SPACES)
    network = nas.build("squeezenas/lat_small").eval()
    size = (64, 128)
    graph = trace_onnx(fold_batch_norms(network), {"image": torch.zeros(1, 3, *size)}, output="logits", opset=17, free_batch=False)
    shape = type(design.deployment)(size, design.deployment.init_channels, design.deployment.num_classes)
    assert count_onnx_macs(graph) == sum(count_macs(design.deployed(shape).graph).values())
    assert count_onnx_parameters(graph) == sum(weight.numel() for weight in fold_batch_norms(network).parameters())
