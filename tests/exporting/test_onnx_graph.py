"""ONNX graphs: pooling as products, sizes as constants, nothing of this machine in the file, the same bytes again."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional

from nas.exporting.onnx_graph import add_metadata, node_counts, pooling_matrix, to_float16, trace_onnx


def run(model, x):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x.numpy()})[0]


class Calls(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def traced(function, *shape, opset=17):
    module = function if isinstance(function, nn.Module) else Calls(function)
    return trace_onnx(module.eval(), {"x": torch.zeros(1, *shape)}, output="y", opset=opset)


@pytest.mark.parametrize("bins", [1, 2, 3, 5, 6])
@pytest.mark.parametrize("size", [1, 4, 5, 7, 12, 31])
def test_pooling_matrix_is_adaptive_pooling(size, bins):
    x = torch.randn(1, 1, 1, size, generator=torch.Generator().manual_seed(0))
    expected = functional.adaptive_avg_pool2d(x, (1, bins))[0, 0, 0].numpy()
    np.testing.assert_allclose(pooling_matrix(size, bins) @ x[0, 0, 0].numpy(), expected, atol=1e-6)


POOLINGS = [5, (5, 5), (2, 3), (None, 3), 1, (1, 1), 2]


@pytest.mark.parametrize("grid", POOLINGS, ids=str)
def test_adaptive_pooling_of_every_form_on_a_map_that_the_grid_does_not_divide(grid):
    x = torch.randn(3, 4, 7, 12, generator=torch.Generator().manual_seed(0))
    for function in (lambda t: functional.adaptive_avg_pool2d(t, grid), nn.AdaptiveAvgPool2d(grid)):
        got = run(traced(function, 4, 7, 12), x)
        np.testing.assert_allclose(got, functional.adaptive_avg_pool2d(x, grid).numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("grid", "operator"), [(5, "AveragePool"), ((3, 4), "AveragePool"), (1, "GlobalAveragePool"), (7, "MatMul")]
)
def test_adaptive_pooling_of_a_resized_map(grid, operator):
    """The exporter itself has lost the size of the map by then."""

    def function(x):
        larger = functional.interpolate(x, size=(15, 20), mode="bilinear", align_corners=False)
        return functional.adaptive_avg_pool2d(larger, grid)

    model = traced(function, 2, 7, 9)
    assert operator in node_counts(model)
    x = torch.randn(3, 2, 7, 9, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(run(model, x), function(x).numpy(), atol=1e-5)


def test_sizes_computed_in_python_round_as_python_does():
    """Traced sizes would be divided in the graph, where -(-7 // 2) is 3."""

    def half(x):
        return functional.interpolate(x, size=(-(-x.shape[2] // 2), -(-x.size(3) // 2)), mode="bilinear", align_corners=False)

    model = traced(half, 2, 7, 9)
    x = torch.randn(3, 2, 7, 9, generator=torch.Generator().manual_seed(0))
    got = run(model, x)
    assert got.shape == (3, 2, 4, 5)
    np.testing.assert_allclose(got, half(x).numpy(), atol=1e-5)
    assert not {"Div", "Neg", "Mod", "Gather"} & set(node_counts(model))
    sizes = [dim.dim_param or dim.dim_value for dim in model.graph.output[0].type.tensor_type.shape.dim]
    assert sizes == ["batch", 2, 4, 5]


class PaddedAndScaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.arange(6.0))

    def forward(self, x):
        return functional.pad(x, (0, 1, 0, 1)) * (self.table[:2] + 1).reshape(1, 2, 1, 1)


def test_what_does_not_depend_on_the_input_is_computed_once():
    model = traced(PaddedAndScaled(), 2, 3, 4)
    assert node_counts(model) == {"Mul": 1, "Pad": 1}
    read = {name for node in model.graph.node for name in node.input}
    assert {tensor.name for tensor in model.graph.initializer} <= read
    x = torch.randn(2, 2, 3, 4)
    expected = functional.pad(x, (0, 1, 0, 1)) * torch.tensor([1.0, 2.0]).reshape(1, 2, 1, 1)
    np.testing.assert_allclose(run(model, x), expected.numpy(), atol=1e-6)


def test_file_says_nothing_of_how_and_where_it_was_traced():
    model = traced(nn.Sequential(nn.Conv2d(2, 2, 3), nn.ReLU()), 2, 8, 8)
    add_metadata(model, version="1.2", properties={"answer": "42"})
    assert (model.producer_name, model.producer_version) == ("segnas", "1.2")
    assert [(entry.key, entry.value) for entry in model.metadata_props] == [("answer", "42")]
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
    assert not model.doc_string + model.graph.doc_string
    content = model.SerializeToString()
    for trace in (b".py", b"stack_trace", b"pytorch", b"site-packages"):
        assert trace not in content


def test_tracing_twice_gives_the_same_bytes():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(2, 4, 3), nn.AdaptiveAvgPool2d(5), nn.Upsample(size=(9, 9), mode="bilinear"))
    contents = {traced(module, 2, 8, 11).SerializeToString() for _ in range(2)}
    assert len(contents) == 1


def test_tracing_leaves_torch_as_it_was():
    traced(nn.ReLU(), 1, 2, 2)
    x = torch.ones(1, 1, 3, 3, requires_grad=True)
    assert functional.adaptive_avg_pool2d(x, 2).requires_grad
    assert not torch.overrides._get_current_function_mode_stack()


def test_opset_is_the_one_asked_for():
    assert [(entry.domain, entry.version) for entry in traced(nn.ReLU(), 1, 2, 2, opset=13).opset_import] == [("", 13)]


class Scaled(nn.Module):
    """Resized by factors, which are float32 whatever the map is, and cast from whole numbers."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)

    def forward(self, x):
        y = self.conv(x)
        y = functional.interpolate(y, scale_factor=2.0, mode="bilinear", recompute_scale_factor=False)
        return y + (y > 0).float() * 0.25


def test_float16_graph_is_float16_between_float32_ends():
    torch.manual_seed(0)
    module = Scaled()
    model = traced(module, 2, 7, 9)
    to_float16(model)
    onnx.checker.check_model(model, full_check=True)
    assert [value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)] == [onnx.TensorProto.FLOAT] * 2
    weights = [tensor for tensor in model.graph.initializer if tensor.name.startswith("conv")]
    assert [tensor.data_type for tensor in weights] == [onnx.TensorProto.FLOAT16] * 2
    x = torch.randn(3, 2, 7, 9)
    with torch.no_grad():
        np.testing.assert_allclose(run(model, x), module.half()(x.half()).float().numpy(), atol=5e-3)


def test_float16_leaves_whole_numbers_as_they_are():
    model = traced(lambda x: x.max(dim=1).indices[:, None], 3, 4, 5)
    to_float16(model)
    onnx.checker.check_model(model, full_check=True)
    x = torch.randn(2, 3, 4, 5).half().float()
    assert (run(model, x) == x.argmax(dim=1, keepdim=True).numpy()).all()
