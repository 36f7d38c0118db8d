"""What every operation owes to a device: ONNX that computes the same, at even and odd sizes, without batch norms."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from nas.exporting.file_positions import OPERATOR
from nas.exporting.folding import fold_batch_norms
from nas.exporting.onnx_graph import node_counts, to_float16, trace_onnx
from nas.ops import OPERATIONS, OpSpec, build, example_inputs
from nas.ops.chains import NORMS, layers_of
from tests.contracts.test_op_contract import RUNNING
from tests.random_weights import as_if_trained


def doubled(spec: OpSpec) -> OpSpec:
    """The same operation on a map of twice the size, hence an even one."""
    sizes = {name: 2 * getattr(spec, name) for name in ("height", "width", "out_height", "out_width")}
    return dataclasses.replace(spec, **sizes)


def larger_window_pool(spec: OpSpec) -> OpSpec:
    """On 14x10 pixels, windows of 5 at strides 2 and 3."""
    return dataclasses.replace(doubled(spec), out_height=5, out_width=2)


def larger_global_pool(spec: OpSpec) -> OpSpec:
    """The average of a map has one pixel, whatever its size."""
    return dataclasses.replace(doubled(spec), out_height=1, out_width=1)


def cut_at_odd_sizes(spec: OpSpec) -> OpSpec:
    """Windows of two pixels."""
    size = {name: 2 * getattr(spec, name) for name in ("height", "width")}
    return dataclasses.replace(spec, **size, out_height=spec.height, out_width=spec.width)


def larger_bin_pool(spec: OpSpec) -> OpSpec:
    """As many bins as before, whatever the size."""
    return dataclasses.replace(doubled(spec), out_height=spec.out_height, out_width=spec.out_width)


LARGER = {
    "window_pool": larger_window_pool,
    "global_pool": larger_global_pool,
    "global_max_pool": larger_global_pool,
    "bin_pool": larger_bin_pool,
    "channel_conv_sigmoid": lambda spec: dataclasses.replace(spec, in_channels=9, out_channels=9),
    "square_bin_pool": larger_bin_pool,
    "pad": lambda spec: dataclasses.replace(doubled(spec), out_height=2 * spec.height + 2, out_width=2 * spec.width + 2),
}


HALVING = {"max_pool", "avg_pool", "shrink"}
FRACTIONS = {"shrink", "shrinking_pool", "pool_positions"}


def larger(spec: OpSpec) -> OpSpec:
    """The same operation at another, even size."""
    halving = spec.kind in {*HALVING, "conv_bn_relu"} and spec.stride == 2 and spec.kernel % 2 == 0
    return cut_at_odd_sizes(spec) if halving or spec.kind in FRACTIONS else LARGER.get(spec.kind, doubled)(spec)


SPECS = [spec for one in RUNNING for spec in (one, larger(one))]


class SideBySide(nn.Module):
    """Many operations in one graph, each with inputs of its own; all outputs in one row a image."""

    def __init__(self, specs: list[OpSpec]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.specs = specs
        self.ops = nn.ModuleList(as_if_trained(build(spec), seed) for seed, spec in enumerate(specs))

    def outputs(self, *inputs):
        values = iter(inputs)
        for spec, op in zip(self.specs, self.ops, strict=True):
            yield op(*(next(values) for _ in example_inputs(spec)))

    def forward(self, *inputs):
        return torch.cat([output.flatten(1).float() for output in self.outputs(*inputs)], dim=1)


def inputs_of_all(specs, *, batch):
    generator = torch.Generator().manual_seed(batch)
    tensors = [x for spec in specs for x in example_inputs(spec, batch=batch, generator=generator)]
    return {f"x{number}": tensor for number, tensor in enumerate(tensors)}


def differences(specs, *, opset, half=False):
    """Operation and size -> largest difference over batches of 1 and 3, relative to the largest output where that exceeds 1."""
    plain = SideBySide(specs).eval()
    model = trace_onnx(fold_batch_norms(plain), inputs_of_all(specs, batch=1), output="y", opset=opset)
    if half:
        to_float16(model)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = dict.fromkeys((spec.key for spec in specs), 0.0)
    for batch in (1, 3):
        inputs = inputs_of_all(specs, batch=batch)
        names = {value.name for value in session.get_inputs()}
        (got,) = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items() if name in names})
        with torch.no_grad():
            expected = [output.flatten(1).float().numpy() for output in plain.outputs(*inputs.values())]
        assert np.isfinite(got).all()
        assert got.shape == (batch, sum(one.shape[1] for one in expected))
        ends = np.cumsum([one.shape[1] for one in expected])[:-1]
        for spec, one, other in zip(specs, expected, np.split(got, ends, axis=1), strict=True):
            differing = float(np.abs(one - other).max()) / max(1.0, float(np.abs(one).max()))
            found[spec.key] = max(found[spec.key], differing)
    return model, found


@pytest.fixture(scope="module")
def exported():
    return differences(SPECS, opset=17)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.key)
def test_onnx_computes_what_the_operation_computes(exported, spec):
    assert exported[1][spec.key] < 1e-5


def test_every_kind_is_among_them():
    assert {spec.kind for spec in SPECS} == set(OPERATIONS) - {"none"}


def test_batch_norms_stay_where_an_operation_begins_with_one(exported):
    model, _ = exported
    assert node_counts(model)["BatchNormalization"] == sum(layers_of(spec.kind)[0] in NORMS for spec in SPECS)


def test_file_resizes_by_centres_of_pixels_or_corners_or_to_the_nearest(exported):
    model, _ = exported
    resizes = [node for node in model.graph.node if node.op_type == "Resize"]
    modes, nearest = [], 0
    for node in resizes:
        attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        if attributes["mode"] == b"nearest":
            nearest += 1
            assert attributes["nearest_mode"] == b"floor"
            assert attributes["coordinate_transformation_mode"] == b"asymmetric"
            continue
        assert attributes["mode"] == b"linear"
        modes.append(attributes["coordinate_transformation_mode"])
    by_corners = sum(spec.kind == "resize_corners" for spec in SPECS)
    by_corners += sum(2 if spec.stride == 1 else 1 for spec in SPECS if spec.kind in ("conv_downup", "conv_2x_downup"))
    assert modes.count(b"align_corners") == by_corners > 0
    assert nearest == sum(spec.kind == "resize_nearest" for spec in SPECS) > 0
    assert modes.count(b"half_pixel") == len(resizes) - by_corners - nearest > 0


def test_positions_of_unpooling_alone_are_made_by_the_operator_that_tells_them(exported):
    model, _ = exported
    assert node_counts(model)[OPERATOR] == sum(spec.kind == "pool_positions" for spec in SPECS) > 0


def test_sizes_are_constants_of_the_file(exported):
    """Arithmetic with sizes is left to the device for the batch alone: shapes are read only to pass it on to a resize."""
    model, _ = exported
    counts = node_counts(model)
    assert counts["Shape"] == counts["Resize"]
    assert not {"Div", "Mod", "Gather", "Floor", "ConstantOfShape"} & set(counts)


def test_float16_stays_near():
    of_each_kind = list({spec.kind: spec for spec in SPECS}.values())
    _, found = differences(of_each_kind, opset=17, half=True)
    assert max(value for key, value in found.items() if not key.startswith(("argmax", "pool_positions"))) < 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("opset", range(11, 21))
def test_every_opset_that_can_be_asked_for(opset):
    model, found = differences(SPECS, opset=opset)
    assert model.opset_import[0].version == opset
    assert max(found.values()) < 1e-5
