"""Operations as files: every kind that costs something, at shapes of all spaces and odd ones, in the operators of old runtimes."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nas.exporting.folding import fold_batch_norms
from nas.measuring.example_operations import example_operation
from nas.measuring.operation_graphs import OperationFile, _repeat_weights, operation_file
from nas.ops import FREE_KINDS, OPERATIONS, OpSpec, is_free
from nas.space.deployment import Deployment
from search_spaces import SEARCH_SPACES
from tests.contracts.test_op_contract import spec_of_kind
from tests.measuring.runners.bundles import spec

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

TENSORRT_7 = {
    "Add",
    "And",
    "ArgMax",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Concat",
    "Conv",
    "ConvTranspose",
    "DepthToSpace",
    "Elu",
    "Exp",
    "GlobalAveragePool",
    "Greater",
    "HardSigmoid",
    "LeakyRelu",
    "Less",
    "MatMul",
    "Max",
    "MaxPool",
    "Mul",
    "Not",
    "PRelu",
    "Pad",
    "Reciprocal",
    "ReduceMax",
    "ReduceMean",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Resize",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Split",
    "Sqrt",
    "Sub",
    "Transpose",
    "Unsqueeze",
    "Where",
}
"""Of the operators that the ONNX parser of TensorRT 7 supports, those that may occur here."""


def odd_shapes() -> list[OpSpec]:
    """What no plan below has: odd sides at stride 2, groups, one pixel, windows of different strides along the sides."""
    return [
        spec("bare_conv", kernel=3, stride=2),
        spec("bare_conv", kernel=3, groups=4, dilation=2),
        spec("conv_bn_relu", kernel=3, out=12, stride=2, groups=4),
        spec("relu_sep_conv_bn", kernel=3, stride=2, dilation=4),
        spec("inverted_residual", kernel=5, stride=2, groups=2, expansion=3, out=10),
        spec("factorized_reduce", stride=2, out=7, h=9, w=10),
        spec("reduce_bn_relu", stride=2, out=6, h=10, w=9),
        spec("grid_pool", kernel=2, stride=2),
        spec("grid_pool", kernel=5, stride=2, h=13),
        spec("conv_downup", kernel=3, h=7, w=9),
        spec("conv_downup", kernel=3, stride=2, h=7, w=9),
        spec("conv_2x_downup", kernel=3, stride=2, h=7, w=9, out=12),
        spec("conv_downup", kernel=3, h=1, w=1),
        spec("max_pool", kernel=3, stride=2, h=1, w=1),
        replace(spec("window_pool", kernel=5, stride=2, stride_width=3), out_height=3, out_width=3),
        replace(spec("transposed_conv", out=6), out_height=17, out_width=22),
        replace(spec("resize"), out_height=31, out_width=5),
        spec("conv_bn_relu", c=128, h=5, w=5, kernel=3),
    ]


def representatives() -> list[OpSpec]:
    """One operation a kind, stride, kernel, groups, dilation and expansion of all spaces at two small sizes; the odd ones; and one
    of each kind that hand-made networks alone have."""
    found: dict[tuple[str, int, int, int, int, int], OpSpec] = {}
    for entry in SEARCH_SPACES.values():
        space = entry.build(entry.config())
        for size in ((64, 96), (72, 104)):
            for one in sorted(space.plan(Deployment(size, space.deploy_channels, 11))):
                if not is_free(one):
                    found[one.kind, one.stride, one.kernel, one.groups, one.expansion, one.dilation] = one
    kinds = {one.kind for one in found.values()}
    others = [spec_of_kind(kind) for kind in OPERATIONS if kind not in kinds | FREE_KINDS]
    return [*found.values(), *odd_shapes(), *others]


ALL = representatives()


def close(got: torch.Tensor | np.ndarray, expected: torch.Tensor) -> bool:
    """Whether values agree to 1e-4 of the largest; labels exactly, where no two classes are as close as that."""
    result = torch.as_tensor(got)
    if result.shape != expected.shape or result.dtype != expected.dtype:
        return False
    if result.dtype == torch.int64:
        return bool((result == expected).float().mean() > 0.999)
    return bool((result - expected).abs().max() <= 1e-4 * expected.abs().max())


def modelled(one: OpSpec, batch: int) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
    """Inputs of an operation and the output of PyTorch's own module with the same weights."""
    module, inputs = example_operation(one, batch=batch)
    module = fold_batch_norms(module)
    _repeat_weights(module)
    with torch.no_grad():
        return inputs, module(*inputs)


def checked_onnx(file: OperationFile) -> None:
    model = onnx.load_from_string(file.content)
    onnx.checker.check_model(model, full_check=True)
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 11)]
    assert {node.op_type for node in model.graph.node} <= TENSORRT_7
    stated = {value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim) for value in model.graph.input}
    assert stated == dict(file.inputs)
    assert min(side for shape in stated.values() for side in shape) > 0
    assert set(stated) <= {name for node in model.graph.node for name in node.input}
    (end,) = model.graph.output
    assert tuple(dim.dim_value for dim in end.type.tensor_type.shape.dim) == file.output
    assert end.type.tensor_type.elem_type == {"float32": 1, "int64": 7}[file.output_type]
    assert str(Path(__file__).parents[2]).encode() not in file.content


def test_every_kind_that_costs_something_is_among_the_operations() -> None:
    assert {one.kind for one in ALL} == set(OPERATIONS) - FREE_KINDS
    assert any(one.stride_width for one in ALL)
    assert {1, 2, 4} <= {one.groups for one in ALL}


FIRST = list({one.kind: one for one in reversed(ALL)}.values())
LAST = list({one.kind: one for one in ALL}.values())
"""The first and the last operation of each kind."""


@pytest.mark.parametrize(
    ("batch", "operations"),
    [(1, LAST), (2, odd_shapes()), pytest.param(1, FIRST, marks=pytest.mark.slow)],
    ids=["last", "odd", "first"],
)
def test_onnx_of_every_operation_is_static_and_gives_what_the_module_gives(batch: int, operations: Sequence[OpSpec]) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    for one in operations:
        file = operation_file(one, batch=batch, script=False)
        try:
            checked_onnx(file)
            inputs, expected = modelled(one, batch)
            given = {f"x{index}": value.numpy() for index, value in enumerate(inputs)}
            session = onnxruntime.InferenceSession(file.content, options, providers=["CPUExecutionProvider"])
            (got,) = session.run(None, {name: given[name] for name, _ in file.inputs})
            if one.kind.endswith("hswish"):
                expected = expected[:, :1, :1, :1]
            assert file.output == expected.shape
            assert file.output[0] == batch
            assert close(got, expected)
        except BaseException as error:
            error.add_note(f"{one.key}, batch {batch}")
            raise


def test_a_hard_swish_is_computed_within_its_convolution_as_in_a_network(tmp_path: Path) -> None:
    for kind in ("conv_bn_hswish", "conv_bias_hswish", "conv_bn_relu"):
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.optimized_model_filepath = 3, str(tmp_path / "optimized.onnx")
        file = operation_file(OpSpec.from_key(f"{kind} in=16x12x20 out=32x12x20 k=1 s=1 d=1 g=1"), batch=1, script=False)
        onnxruntime.InferenceSession(file.content, options, providers=["CPUExecutionProvider"])
        nodes = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
        assert "Conv" in nodes or "FusedConv" in nodes
        assert not {"Relu", "HardSigmoid", "HardSwish", "Mul"} & set(nodes), (kind, nodes)


def checked_script(file: OperationFile) -> None:
    """It has no operator and no format that came after PyTorch 1.8, and no sizes that the device would compute."""
    with zipfile.ZipFile(io.BytesIO(file.content)) as archive:
        code = b"".join(archive.read(name) for name in archive.namelist() if name.endswith(".py"))
        version = next(archive.read(name) for name in archive.namelist() if name.endswith("/version"))
    assert not re.search(rb"torch\.(pad|floor_divide|size)\(|NumToTensor", code)
    assert int(version) <= 3  # 10 came with 1.12


@pytest.mark.parametrize(
    ("batch", "operations"),
    [(1, FIRST), (2, odd_shapes()), pytest.param(1, LAST, marks=pytest.mark.slow)],
    ids=["first", "odd", "last"],
)
def test_torchscript_of_every_operation_suits_old_versions_and_gives_what_the_module_gives(
    batch: int, operations: Sequence[OpSpec]
) -> None:
    for one in operations:
        file = operation_file(one, batch=batch, script=True)
        try:
            checked_script(file)
            inputs, expected = modelled(one, batch)
            assert dict(file.inputs) == {f"x{index}": tuple(value.shape) for index, value in enumerate(inputs)}
            with torch.no_grad():
                got = torch.jit.load(io.BytesIO(file.content))(*inputs)
            assert close(got, expected)
        except BaseException as error:
            error.add_note(f"{one.key}, batch {batch}")
            raise


@pytest.mark.parametrize("script", [False, True])
def test_the_same_operation_gives_the_same_bytes_in_any_process(script: bool) -> None:
    operations = [spec("factorized_reduce", stride=2), spec("inverted_residual", kernel=3, expansion=2)]
    first = [operation_file(one, batch=1, script=script).content for one in operations]
    again = [operation_file(one, batch=1, script=script).content for one in reversed(operations)][::-1]
    assert first == again
    code = (
        "import sys, hashlib; from nas.ops import OpSpec; from nas.measuring.operation_graphs import operation_file\n"
        f"keys, script = {[one.key for one in operations[::-1]]!r}, {script}\n"
        "files = [operation_file(OpSpec.from_key(key), batch=1, script=script).content for key in keys]\n"
        "sys.stdout.write(' '.join(hashlib.sha256(file).hexdigest() for file in files[::-1]))"
    )
    from hashlib import sha256

    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "PYTHONHASHSEED": "17"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=120)
    assert found.stdout.split() == [sha256(content).hexdigest() for content in first]


def test_no_file_speaks_of_folders_of_this_machine() -> None:
    for script in (False, True):
        content = operation_file(spec("conv_bn_relu", kernel=3), batch=1, script=script).content
        unpacked = [content]
        if script:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                unpacked = [archive.read(name) for name in archive.namelist()]
        for folder in (Path(__file__).parents[2], Path(torch.__file__).parent, Path.home()):
            assert not any(str(folder).encode() in part for part in unpacked if len(str(folder)) > 1)


def test_a_large_layer_packs_to_little_and_its_filters_differ() -> None:
    large = spec("conv_bn_relu", c=512, h=8, w=8, kernel=3)
    for script in (False, True):
        content = operation_file(large, batch=1, script=script).content
        assert len(content) > 9_000_000
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("graph", content)
        assert len(stream.getvalue()) < 100_000
    module, _ = example_operation(large, batch=1)
    _repeat_weights(module)
    filters = next(module.parameters()).detach().flatten(1)
    assert len({row.numpy().tobytes() for row in filters}) == 512
    assert abs(float(filters.std()) / (2 / (512 * 9)) ** 0.5 - 1) < 0.05  # He's spread, as before


def test_making_a_file_leaves_the_random_state_and_the_modes_as_they_were() -> None:
    before = torch.random.get_rng_state()
    for script in (False, True):
        operation_file(spec("grid_pool", kernel=2, stride=2), batch=1, script=script)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.is_grad_enabled()
    stream = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.Identity(), torch.zeros(1)), stream)
    with zipfile.ZipFile(stream) as archive:
        assert any(name.endswith(".debug_pkl") for name in archive.namelist())
