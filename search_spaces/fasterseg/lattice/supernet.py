"""The supernet: stem, lattice of cells, and the heads on its last layer.

Chen et al., "FasterSeg", ICLR 2020, arXiv:1912.10917, as in the official code. Cells are shared by all architecture sets. Each set
has its own stem, refinement and heads, in its own widths.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

from torch import Tensor, nn

from nas.ops import OpSpec, build
from nas.space.graph import Graph, NetworkBuilder, Value, map_spec
from nas.space.weights import Weights
from search_spaces.fasterseg.config import STRIDES, FasterSegConfig, channels, width_name
from search_spaces.fasterseg.deployed.operators import conv_spec, lattice_spec, operator_spec
from search_spaces.fasterseg.lattice.architecture_sets import DEPLOYED_OUTPUT, SetWidths
from search_spaces.fasterseg.lattice.lattice_choices import (
    HEAD_WIDTH,
    INPUTS,
    LATTICE_OPS,
    STEM_WIDTH,
    cell_name,
    goes_down,
    has_two_inputs,
    input_decision,
    op_decision,
    strides_of,
    width_in,
    width_out,
)
from search_spaces.fasterseg.lattice.slimmable import SlimmableCell


class BySet(nn.Module):
    """Fixed operation with weights and widths of its own for each architecture set.

    The co-search of a teacher and a student by Chen et al., "FasterSeg", ICLR 2020, arXiv:1912.10917.

    Args:
        specs: Architecture set -> its operation.

    Shapes:
        Those of the operation of the weights' set.
    """

    def __init__(self, specs: Mapping[str, OpSpec]) -> None:
        super().__init__()
        self.sets = nn.ModuleDict({name: build(spec) for name, spec in specs.items()})

    def forward(self, weights: Weights, *inputs: Tensor) -> Tensor:
        """As the operation of the weights' architecture set."""
        output: Tensor = self.sets[weights.architecture](*inputs)
        return output


@dataclass(frozen=True, slots=True)
class _Supernet:
    """Shared state of the description (the supernet of Chen et al., "FasterSeg", ICLR 2020, arXiv:1912.10917)."""

    builder: NetworkBuilder
    config: FasterSegConfig
    filters: int
    num_classes: int
    sets: Mapping[str, SetWidths]

    def by_set(self, name: str, *inputs: Value, decision: str, spec: Callable[[int], OpSpec]) -> Value:
        """An operation for each set; `spec` gives that of a width in twelfths, of the stem or of the head."""
        of_set = {key: spec(widths.stem if decision == STEM_WIDTH else widths.head) for key, widths in self.sets.items()}
        options: dict[tuple[str, ...], OpSpec] = {
            (width_name(w),): spec(w) for widths in self.sets.values() for w in (widths.stem, widths.head)
        }
        return self.builder.combination(name, (decision,), options, *inputs, module=lambda _: BySet(of_set))

    def joined(self, value: Value, strides: Sequence[int], width: int) -> Value:
        """A value with the channels that maps of these strides have together in a width of the head."""
        return Value(value.index, sum(channels(self.filters, one, width) for one in strides), value.height, value.width)

    def conv(self, name: str, value: Value, *, entering: Sequence[int], leaving: Sequence[int], kernel: int) -> Value:
        """Convolution, batch norm, ReLU in the width of the head; channels are those of maps of these strides together."""

        def spec(width: int) -> OpSpec:
            out = self.joined(value, leaving, width).channels
            return conv_spec(self.joined(value, entering, width), out, kernel=kernel)

        return self.by_set(name, value, decision=HEAD_WIDTH, spec=spec)


def describe_supernet(
    builder: NetworkBuilder,
    config: FasterSegConfig,
    *,
    sets: Mapping[str, SetWidths],
    filters: int,
    num_classes: int,
) -> Graph:
    """Describe the supernet of Chen et al., "FasterSeg", ICLR 2020, arXiv:1912.10917.

    Args:
        builder: Where to; all decisions are open.
        config: Settings of the space.
        sets: Architecture set -> its fixed widths.
        filters: F.
        num_classes: Classes K.

    Returns:
        The graph; `logits` are `DEPLOYED_OUTPUT` at the size of the image. It also has `labels` and the maps of `OUTPUTS`,
        [N, K, H/8, W/8] each.
    """
    parts = _Supernet(builder, config, filters, num_classes, sets)
    image = builder.image()
    finest, middle, coarsest = _describe_lattice(parts, _describe_stem(parts, image))
    refined16 = _refine(parts, "refine16", middle, finest, stride=16)
    between = _refine(parts, "refine32.0", coarsest, middle, stride=32)
    refined32 = _refine(parts, "refine32.1", between, finest, stride=16)
    read = {
        "8s": [finest],
        "16s": [refined16],
        "32s": [refined32],
        "8s_32s": [finest, refined32],
        "16s_32s": [refined16, refined32],
    }
    outputs = {name: _head(parts, f"head{name}", values) for name, values in read.items()}
    logits = builder.op(
        "upsample", map_spec("resize_corners", outputs[DEPLOYED_OUTPUT], image, num_classes), outputs[DEPLOYED_OUTPUT], image
    )
    labels = builder.op("argmax", map_spec("argmax", logits, logits, 1), logits)
    return builder.finish(logits=logits, labels=labels, **outputs)


def _describe_stem(parts: _Supernet, image: Value) -> Value:
    """As that of derived networks, once for each set."""
    value = image
    for number, (op, stride, times) in enumerate((("conv", 2, 2), ("conv_2x", 4, 2), ("conv_2x", 8, 1))):
        before = value

        def spec(width: int, *, before: Value = before, op: str = op, stride: int = stride, times: int = times) -> OpSpec:
            entering = before.channels if stride == 2 else 2 * channels(parts.filters, stride // 2, width)
            narrow = Value(before.index, entering, before.height, before.width)
            return operator_spec(op, narrow, times * channels(parts.filters, stride, width), stride=2)

        value = parts.by_set(f"stem.{number}", before, decision=STEM_WIDTH, spec=spec)
    return value


def _describe_lattice(parts: _Supernet, stem: Value) -> list[Value]:
    """Maps that the last layer keeps, by scale."""
    layers = parts.config.layers
    kept: dict[int, Value] = {8: stem}
    down: dict[int, Value] = {}
    for layer in range(layers):
        keeps, downs = {}, {}
        for stride in strides_of(layer):
            inputs = [entering for entering in (down.get(stride), kept.get(stride)) if entering is not None]
            keeps[stride] = _cell(parts, layer, stride, inputs, out=stride)
            if goes_down(layer, stride, layers=layers):
                downs[2 * stride] = _cell(parts, layer, stride, inputs, out=2 * stride)
        kept, down = keeps, downs
    return [kept[stride] for stride in STRIDES]


def _cell(parts: _Supernet, layer: int, stride: int, inputs: list[Value], *, out: int) -> Value:
    """The map that a cell keeps (out = stride) or sends down (out = 2 stride)."""
    config = parts.config
    decisions = [op_decision(layer, stride), width_in(layer, stride), width_out(layer, out, layers=config.layers)]
    if has_two_inputs(layer, stride):
        decisions.append(input_decision(layer, stride))
    of_width = {width_name(width): channels(parts.filters, out, width) for width in config.widths}
    specs = _cell_specs(parts, inputs[0], stride=stride, out=out, two_inputs=has_two_inputs(layer, stride))
    factory = partial(SlimmableCell, channels=of_width, weigh_inputs=config.path_weights == "inputs")
    name = f"{cell_name(layer, stride)}.{'keep' if out == stride else 'down'}"
    return parts.builder.combination(name, tuple(decisions), specs, *inputs, module=factory)


def _cell_specs(parts: _Supernet, value: Value, *, stride: int, out: int, two_inputs: bool) -> dict[tuple[str, ...], OpSpec]:
    """The operation for each combination of operator, widths and, with two inputs, the input."""
    widths = parts.config.widths
    specs = {}
    for op, entering, leaving in product(LATTICE_OPS, widths, widths):
        narrow = Value(value.index, channels(parts.filters, stride, entering), value.height, value.width)
        spec = lattice_spec(op, narrow, channels(parts.filters, out, leaving), stride=out // stride)
        for rest in [(name,) for name in INPUTS] if two_inputs else [()]:
            specs[(op, width_name(entering), width_name(leaving), *rest)] = spec
    return specs


def _refine(parts: _Supernet, name: str, coarse: Value, fine: Value, *, stride: int) -> Value:
    """A coarse map in half of its channels, resized to the finer one and joined with it: 1x1, resize, 3x3."""
    half = stride // 2
    arm = parts.conv(f"{name}.arm", coarse, entering=(stride,), leaving=(half,), kernel=1)
    up = parts.builder.op(f"{name}.resize", map_spec("resize_corners", arm, fine, arm.channels), arm, fine)
    joined = parts.builder.concat(f"{name}.join", [up, fine])
    return parts.conv(f"{name}.conv", joined, entering=(half, half), leaving=(half,), kernel=3)


def _head(parts: _Supernet, name: str, values: list[Value]) -> Value:
    """3x3 convolution and scores of classes, on one map of stride 8 or on two."""
    joined = parts.builder.concat(f"{name}.join", values)
    strides = (8,) * len(values)
    hidden = parts.conv(f"{name}.conv", joined, entering=strides, leaving=strides, kernel=3)

    def spec(width: int) -> OpSpec:
        return map_spec("classifier", parts.joined(hidden, strides, width), hidden, parts.num_classes)

    return parts.by_set(f"{name}.classifier", hidden, decision=HEAD_WIDTH, spec=spec)
