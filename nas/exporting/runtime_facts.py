"""What runtimes are known to do differently with an exported file: each fact was seen in the version that it states.

A fact is told where the file has what triggers it. Numbers are of one thread of an x86 CPU, of published networks at 256x512 and
of a random LGCNet network at 180x240.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nas.config.settings import EXPORT_TARGETS

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeFact:
    """Something that a runtime does differently.

    Args:
        runtime: Its name.
        seen: The versions in which it was seen.
        trigger: What of a file it is about, a key of `TRIGGERS`.
        fact: What happens.
        remedy: What to do.
    """

    runtime: str
    seen: str
    trigger: str
    fact: str
    remedy: str


OPENVINO, NCNN, MNN = "OpenVINO 2026.4.1", "ncnn 1.0.20261020, pnnx 20261020", "MNN 3.6.1"
ONNX2TF, LITERT_TORCH = "LiteRT 2.3.0, onnx2tf 2.6.9", "LiteRT 2.3.0, litert-torch 0.10.0"
S, F, L = "squeezenas/lat_small", "fasterseg/student", "an lgcnet network"
ORT, VELA, RKNN = "ONNX Runtime 1.31.1", "Vela 5.2.0", "rknn-toolkit2 2.5.0"

FACTS = (
    RuntimeFact(
        runtime="onnxruntime",
        seen=ORT,
        trigger="free batch",
        fact=f"a free batch costs 5 to 9 % of the time of {S} and {F}",
        remedy="python -m onnxruntime.tools.make_dynamic_shape_fixed --dim_param batch --dim_value 1 IN OUT",
    ),
    RuntimeFact(
        runtime="onnxruntime",
        seen=ORT,
        trigger="argmax",
        fact=f"the argmax takes 24 % of the time of {S}",
        remedy="leave it in the file; outside, PyTorch's (2.13) of the same logits takes 1.5 to 3 times as long",
    ),
    RuntimeFact(
        runtime="onnxruntime",
        seen=ORT,
        trigger="convolution",
        fact=f"convolutions run in blocks of channels, and rearranging maps for them is about 18 % of the time of {S}",
        remedy="compare whole networks; that time belongs to no operation of a profile",
    ),
    RuntimeFact(
        runtime="openvino",
        seen=OPENVINO,
        trigger="float32 weights",
        fact="on a CPU with AVX512_BF16 it computes in bf16 by default, and with a hint of f16: 0.07 to 1.4 % of the labels change",
        remedy="INFERENCE_PRECISION_HINT=f32, or EXECUTION_MODE_HINT=ACCURACY",
    ),
    RuntimeFact(
        runtime="openvino",
        seen=OPENVINO,
        trigger="resized logits",
        fact=f"it computes with channels last, and rearranging resized logits is half of the time of {S} in f32, argmax or not",
        remedy="export.output=logits, and ask OpenVINO for an output with channels last (NHWC)",
    ),
    RuntimeFact(
        runtime="openvino",
        seen=OPENVINO,
        trigger="free batch",
        fact=f"a free batch costs 2 to 9 % of the time of {S} and {F}, and 30 % of {L}",
        remedy="fix the batch to 1 in the file",
    ),
    RuntimeFact(
        runtime="openvino",
        seen=OPENVINO,
        trigger="average pooling with ceil_mode and counted padding",
        fact="means at the border are others than in PyTorch and ONNX Runtime, by 0.17 for values of deviation 1",
        remedy="leave one of the two out before the training",
    ),
    RuntimeFact(
        runtime="ncnn",
        seen=NCNN,
        trigger="argmax",
        fact="pnnx converts ArgMax with exit status 0, and ncnn cannot load the file",
        remedy="export.output=logits",
    ),
    RuntimeFact(
        runtime="ncnn",
        seen=NCNN,
        trigger="float32 weights",
        fact="pnnx keeps weights as float16 by default: 0.01 to 0.08 % of the labels change",
        remedy="pnnx fp16=0",
    ),
    RuntimeFact(
        runtime="ncnn",
        seen=NCNN,
        trigger="grouped 1x1 convolution",
        fact="with use_bf16_storage it gives garbage or NaN, with status 0",
        remedy="leave use_bf16_storage off",
    ),
    RuntimeFact(
        runtime="ncnn",
        seen=NCNN,
        trigger="free batch",
        fact="pnnx fixes the batch to 1",
        remedy="run one image at a time",
    ),
    RuntimeFact(
        runtime="mnn",
        seen=MNN,
        trigger="float32 weights",
        fact=f"fp32 is rougher: ten times ONNX Runtime's error in 3x3 convolutions, 1.4e-3 in the logits of {L}; no setting helps",
        remedy="compare logits relative to the largest one",
    ),
    RuntimeFact(
        runtime="mnn",
        seen=MNN,
        trigger="any file",
        fact="the command mnnconvert installs a package by pip, and is written to report machine, model and arguments",
        remedy="convert with the module _tools of its Python package, which does neither",
    ),
    RuntimeFact(
        runtime="mnn",
        seen=MNN,
        trigger="free batch",
        fact="the converter fixes the batch to 1",
        remedy="run one image at a time",
    ),
    RuntimeFact(
        runtime="litert",
        seen=ONNX2TF,
        trigger="cropped transposed convolution",
        fact="onnx2tf gives its result a wrong shape, with exit status 0",
        remedy="compare the output with ONNX Runtime's; onnxslim 0.1.98 before it mends some networks",
    ),
    RuntimeFact(
        runtime="litert",
        seen=ONNX2TF,
        trigger="free batch",
        fact=f"the option -b 1 of onnx2tf has no effect, and {S} takes 2.5 times as long with a free batch",
        remedy="fix the batch to 1 in the file",
    ),
    RuntimeFact(
        runtime="litert",
        seen=ONNX2TF,
        trigger="float32 weights",
        fact="the second file that onnx2tf writes is float16 throughout, and does not run",
        remedy="deploy the first file",
    ),
    RuntimeFact(
        runtime="litert",
        seen=LITERT_TORCH,
        trigger="any file",
        fact=f"maps have channels last; images and logits with channels first are transposed, 20 % of the time of {S}",
        remedy="give and take NHWC",
    ),
    RuntimeFact(
        runtime="vela",
        seen=VELA,
        trigger="corner-aligned resize",
        fact="one by a scale that is no power of two (64 to 512 pixels: 511/63) goes to the CPU, and the estimate leaves it out",
        remedy="add its time, measured on the device",
    ),
    RuntimeFact(
        runtime="vela",
        seen=VELA,
        trigger="argmax",
        fact="ArgMax of floats stops the compilation",
        remedy="export.output=logits",
    ),
    RuntimeFact(
        runtime="rknn",
        seen=RKNN,
        trigger="float32 weights",
        fact=f"without quantisation 0.08 % of the labels of {S} change in its simulator for rk3588, which states no times",
        remedy="measure on the board",
    ),
)
"""All that is known. Nothing is told of a runtime that nobody has run, TensorRT among them."""


def known_differences(model: ModelProto, target: str | None = None) -> list[dict[str, Any]]:
    """The facts that a file triggers, as plain data in the order of `FACTS`.

    Args:
        model: An exported file.
        target: One of `EXPORT_TARGETS`; None: all of them.

    Returns:
        Per fact: runtime, versions, trigger, how often the file has it, fact and remedy.
    """
    found = {name: count(model) for name, count in TRIGGERS.items()}
    return [
        {
            "runtime": one.runtime,
            "seen": one.seen,
            "trigger": one.trigger,
            "times": found[one.trigger],
            "fact": one.fact,
            "remedy": one.remedy,
        }
        for one in FACTS
        if found[one.trigger] and target in (None, one.runtime)
    ]


def difference_lines(found: list[dict[str, Any]], target: str | None) -> list[str]:
    """Human lines: for a target each fact and what to do, else how many there are of each runtime."""
    if target is None:
        counts = {name: sum(one["runtime"] == name for one in found) for name in EXPORT_TARGETS}
        words = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
        return [f"  what runtimes are known to do differently with this file: {words}; export.target=NAME tells"]
    if not found:
        return [f"  {target}: nothing is known that it does differently with this file"]
    lines = []
    for one in found:
        times = "" if one["trigger"] in PLAIN else f"{one['trigger']} ({one['times']} times): "
        lines += [f"  {one['seen']}: {times}{one['fact']}", f"    {one['remedy']}"]
    return lines


def _count(of: Callable[[NodeProto, ModelProto], bool]) -> Callable[[ModelProto], int]:
    return lambda model: sum(of(node, model) for node in model.graph.node)


def _attributes(node: NodeProto) -> dict[str, Any]:
    from onnx import helper

    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _is_corner_aligned(node: NodeProto, _: ModelProto) -> bool:
    return node.op_type == "Resize" and _attributes(node).get("coordinate_transformation_mode") == b"align_corners"


def _is_grouped_pointwise(node: NodeProto, _: ModelProto) -> bool:
    attributes = _attributes(node)
    return node.op_type == "Conv" and attributes.get("group", 1) > 1 and set(attributes.get("kernel_shape", ())) == {1}


def _is_crop_of_transposed(node: NodeProto, model: ModelProto) -> bool:
    made = {name for other in model.graph.node if other.op_type == "ConvTranspose" for name in other.output}
    return node.op_type == "Slice" and node.input[0] in made


def _is_counted_pool(node: NodeProto, _: ModelProto) -> bool:
    attributes = _attributes(node)
    counts = bool(attributes.get("ceil_mode") and attributes.get("count_include_pad") and any(attributes.get("pads", ())))
    return node.op_type == "AveragePool" and counts


def _is_last_resize(node: NodeProto, model: ModelProto) -> bool:
    """Whether a resize makes the logits: the output, or what the argmax for it reads, be it through a cast."""
    ends = {value.name for value in model.graph.output}
    for other in reversed(model.graph.node):
        if other.op_type in ("Unsqueeze", "ArgMax", "Cast") and ends.intersection(other.output):
            ends.update(other.input)
    return node.op_type == "Resize" and bool(ends.intersection(node.output))


def _has_float32_weights(model: ModelProto) -> int:
    from onnx import TensorProto

    return int(any(tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 4 for tensor in model.graph.initializer))


def _has_free_batch(model: ModelProto) -> int:
    return int(bool(model.graph.input[0].type.tensor_type.shape.dim[0].dim_param))


TRIGGERS: Mapping[str, Callable[[ModelProto], int]] = {
    "any file": lambda _: 1,
    "free batch": _has_free_batch,
    "float32 weights": _has_float32_weights,
    "convolution": _count(lambda node, _: node.op_type == "Conv"),
    "argmax": _count(lambda node, _: node.op_type == "ArgMax"),
    "resized logits": _count(_is_last_resize),
    "corner-aligned resize": _count(_is_corner_aligned),
    "grouped 1x1 convolution": _count(_is_grouped_pointwise),
    "cropped transposed convolution": _count(_is_crop_of_transposed),
    "average pooling with ceil_mode and counted padding": _count(_is_counted_pool),
}
"""What a fact may be about -> how often a file has it."""

PLAIN = frozenset({"any file", "free batch", "float32 weights", "convolution", "argmax", "resized logits"})
"""Triggers whose number says nothing: a file has one, or a fact is about all of them together."""
