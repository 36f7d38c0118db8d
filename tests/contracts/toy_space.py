"""One toy space with everything that is foreign to LGCNet: one case for each row of the table in docs/ARCHITECTURE.md.

stem (one for each architecture set) -> residual block (SqueezeNAS) -> two slimmable operators (FasterSeg's widths) -> two cells
steered by one decision, the first run twice with the same weights, and a path between them -> classifier.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.ops import OpSpec, out_size
from nas.ops.candidates import EdgeShape, candidate_specs
from nas.space.capabilities import Derivation, Judge
from nas.space.choice import Choice, argmax_choices
from nas.space.graph import Graph, NetworkBuilder, Node, Value
from nas.space.search_space import SearchSpace
from nas.space.weights import Weights

FULL = 8
BLOCK_OPS = ("none", "conv_3x3", "sep_conv_3x3")
CELL_OPS = ("skip_connect", "conv_1x1", "conv_3x3")
SLIM_KERNELS = {"conv_1x1": 1, "conv_3x3": 3}
SLIM_OPS = tuple(SLIM_KERNELS)
WIDTHS = ("4", "8")
PATHS = ("keep", "down")

CHOICES = (
    Choice("block", BLOCK_OPS, "block", 0),
    Choice("slim.op", SLIM_OPS, "slim", 0, relaxation="softmax"),
    Choice("width.0", WIDTHS, "ratio", 0, relaxation="hard"),
    Choice("width.1", WIDTHS, "ratio", 1, relaxation="hard"),
    Choice("cell", CELL_OPS, "alpha", 0, relaxation="softmax"),
    Choice("path", PATHS, "beta", 0, relaxation="softmax"),
)
OPTIONS = {choice.name: choice.options for choice in CHOICES}


class SlimConv(nn.Module):
    """ReLU and convolutions sliced to the width that comes in and the width drawn, times the gate of that width."""

    def __init__(self, node: Node, *, op: str | None, width: str | None) -> None:
        super().__init__()
        self.op, self.width = op, width
        kernels = sorted({spec.kernel for spec in node.specs.values()})
        cin, cout = (max(getattr(s, side) for s in node.specs.values()) for side in ("in_channels", "out_channels"))
        self.convs = nn.ModuleList([nn.Conv2d(cin, cout, k, padding=k // 2, bias=False) for k in kernels])

    def forward(self, weights: Weights, x: Tensor) -> Tensor:
        """[N, Cin drawn, H, W] -> [N, Cout drawn, H, W]."""
        z_op = weights.values[self.op] if self.op else x.new_ones(1)
        out, gate = self.convs[0].weight.shape[0], x.new_ones(())
        if self.width:
            z = weights.values[self.width]
            index = weights.drawn.get(self.width, int(z.argmax()))
            out, gate = int(WIDTHS[index]), z[index]
        total = torch.zeros(())
        for k, conv in enumerate(self.convs):
            term = functional.conv2d(x.relu(), conv.weight[:out, : x.shape[1]], padding=conv.padding)
            total = total + z_op[..., k].reshape(-1, 1, 1, 1) * term
        return gate * total


def _between(kind: str, value: Value, *, channels: int, like: Value | None = None, kernel: int = 1, stride: int = 1) -> OpSpec:
    height, width = (like.height, like.width) if like else (out_size(value.height, stride), out_size(value.width, stride))
    return OpSpec(
        kind=kind,
        in_channels=value.channels,
        height=value.height,
        width=value.width,
        out_channels=channels,
        out_height=height,
        out_width=width,
        kernel=kernel,
        stride=stride,
    )


class Toy(SearchSpace):
    """The genotype decides the branch first, and a width only where one is left to decide (see `derive`)."""

    architecture_sets = ("teacher", "student")

    def choices(self) -> tuple[Choice, ...]:
        return CHOICES

    def genotype_choices(self) -> Mapping[str, tuple[str, ...]]:
        return {
            "residual": BLOCK_OPS,
            "branch": PATHS,
            "branch.op": CELL_OPS,
            "layer.0.width": WIDTHS,
            "layer.1.op": SLIM_OPS,
            "layer.1.width": WIDTHS,
        }

    def derive(self, logits: Mapping[str, Mapping[str, Tensor]], judge: Judge | None = None) -> Mapping[str, Derivation]:
        del judge
        return {name: Derivation(genotype_of(argmax_choices(groups, CHOICES))) for name, groups in logits.items()}

    def random_choices(self, generator: torch.Generator) -> Mapping[str, str]:
        return {
            name: options[int(torch.randint(len(options), (), generator=generator))]
            for name, options in self.genotype_choices().items()
        }

    def describe(self, builder: NetworkBuilder, *, init_channels: int, num_classes: int) -> Graph:
        image = builder.image()
        stem = builder.op(
            "stem", _between("conv_bn_relu", image, channels=init_channels, kernel=3, stride=2), image, per_architecture=True
        )
        block = builder.choice("block", _candidates(BLOCK_OPS, stem), stem, decision=self._named(builder, "block"))
        value = builder.add("residual", [stem, block])
        slim = _slim_decided(builder, value) if builder.decided else _slim_open(builder, value)
        paths = {}
        for path in PATHS if builder.decided is None else (builder.decided["branch"],):
            paths[path] = self._path(builder, slim, path)
        chosen = paths[builder.decided["branch"]] if builder.decided else builder.select("path", paths)
        scores = builder.op("classifier", _between("classifier", chosen, channels=num_classes), chosen)
        logits = builder.op("upsample", _between("resize", scores, channels=num_classes, like=image), scores, image)
        labels = builder.op("labels", _between("argmax", logits, channels=1), logits)
        return builder.finish(logits=logits, labels=labels)

    def _path(self, builder: NetworkBuilder, value: Value, path: str) -> Value:
        """keep: the cell twice, with the same weights; down: once at half the size, and up again."""
        target, stride, repeats = value, (2 if path == "down" else 1), (1 if path == "down" else 2)
        for i in range(repeats):
            specs = _candidates(CELL_OPS, value, stride=stride)
            cell = builder.choice(f"{path}.{i}", specs, value, decision=self._named(builder, "cell"), module_name=f"cells.{path}")
            assert cell is not None
            value = cell
        return builder.op("up", _between("resize", value, channels=FULL, like=target), value, target) if path == "down" else value

    def _named(self, builder: NetworkBuilder, name: str) -> str:
        return name if builder.decided is None else {"block": "residual", "cell": "branch.op"}[name]


def _candidates(names: tuple[str, ...], value: Value, *, stride: int = 1) -> Mapping[str, OpSpec]:
    edge = EdgeShape(in_channels=value.channels, out_channels=FULL, height=value.height, width=value.width, stride=stride)
    return candidate_specs(names, edge)


def _slim_spec(value: Value, *, cin: int, cout: int, kernel: int) -> OpSpec:
    edge = EdgeShape(in_channels=cin, out_channels=cout, height=value.height, width=value.width)
    return edge.spec("relu_conv_bn", kernel=kernel)


def _slim_open(builder: NetworkBuilder, value: Value) -> Value:
    """8 -> width.0 -> slim.op -> width.1 -> 8."""
    first = {(w,): _slim_spec(value, cin=FULL, cout=int(w), kernel=1) for w in WIDTHS}
    middle = {
        (op, a, b): _slim_spec(value, cin=int(a), cout=int(b), kernel=k)
        for (op, k), a, b in itertools.product(SLIM_KERNELS.items(), WIDTHS, WIDTHS)
    }
    last = {(w,): _slim_spec(value, cin=int(w), cout=FULL, kernel=1) for w in WIDTHS}
    value = builder.combination("slim.0", ("width.0",), first, value, module=functools.partial(SlimConv, op=None, width="width.0"))
    value = builder.combination(
        "slim.1",
        ("slim.op", "width.0", "width.1"),
        middle,
        value,
        module=functools.partial(SlimConv, op="slim.op", width="width.1"),
    )
    return builder.combination("slim.2", ("width.1",), last, value, module=functools.partial(SlimConv, op=None, width=None))


def _slim_decided(builder: NetworkBuilder, value: Value) -> Value:
    assert builder.decided is not None
    a, b = (int(builder.decided[f"layer.{i}.width"]) for i in (0, 1))
    kernel = SLIM_KERNELS[builder.decided["layer.1.op"]]
    for i, (cin, cout, k) in enumerate(((FULL, a, 1), (a, b, kernel), (b, FULL, 1))):
        value = builder.op(f"slim.{i}", _slim_spec(value, cin=cin, cout=cout, kernel=k), value)
    return value


def genotype_of(decided: Mapping[str, str]) -> dict[str, str]:
    """The deployed network's decisions, by their own names."""
    names = {
        "residual": "block",
        "branch": "path",
        "branch.op": "cell",
        "layer.0.width": "width.0",
        "layer.1.op": "slim.op",
        "layer.1.width": "width.1",
    }
    return {new: decided[old] for new, old in names.items()}
