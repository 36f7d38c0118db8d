"""The LGCNet search space: independent cells, communication between them, a fusion cell on top."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from nas.errors import GenotypeError
from nas.ops import OpSpec, out_size
from nas.space.capabilities import Derivation, Judge
from nas.space.choice import Choice, NeverAll, argmax_choices
from nas.space.draws import draw
from nas.space.graph import Graph, NetworkBuilder, Value, map_spec
from nas.space.search_space import SearchSpace
from search_spaces.lgcnet.cell import cell_edges, describe_cell, edge_name
from search_spaces.lgcnet.config import SEARCHED_HEADS, LGCNetConfig
from search_spaces.lgcnet.fusion_cell import FusionCell, parse_edges
from search_spaces.lgcnet.pooling_heads import describe_aspp, describe_ppm

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

NONE = "none"


class LGCNet(SearchSpace):
    """LGCNet: independent cells, a guided module between them, a fusion cell on top.

    Cheng, Sun, Xu, Lyu, Lin, "Local-to-Global Information Communication for Real-Time Semantic Segmentation Network Search", 2023,
    arXiv:2302.08481.

    Args:
        config: Its settings.

    Shapes:
        [N, 3, H, W] -> logits [N, K, H, W].
    """

    config: LGCNetConfig

    stem_strides: ClassVar[tuple[int, ...]] = (2, 2, 1)
    """Strides of the stem's convolutions: 4 in all [reading]."""
    stem_share: ClassVar[int] = 1
    """Initial channels to channels of the stem."""

    def __init__(self, config: LGCNetConfig) -> None:
        super().__init__(config)
        self._edges = cell_edges(config.num_nodes)
        self._fused = config.read_cells()
        self._fusion = _fusion_cell(config) if self._fused else None
        self.num_cells = max(self._fused.values()) + 1 if self._fused else config.num_cells

    def choices(self) -> tuple[Choice, ...]:
        """All decisions: p for each cell, or each kind of cells that share them; then those of the fusion cell."""
        ops = tuple(self.config.ops)
        cells = [
            Choice(edge_name(key, edge.number), ops, f"cell_{key}", edge.number) for key in self._keys() for edge in self._edges
        ]
        rows: dict[tuple[str, ...], int] = defaultdict(int)
        fusion = []
        for name, options in self._fusion.decisions() if self._fusion else ():
            group = "fusion_up" if self._fusion and options == self._fusion.up_ops else "fusion"
            fusion.append(Choice(name, options, group, rows[options]))
            rows[options] += 1
        return (*cells, *fusion)

    def describe(self, builder: NetworkBuilder, *, init_channels: int, num_classes: int) -> Graph:
        """Stem, cells, head, classifier, upsampling to the size of the images, labels."""
        image = builder.image()
        stem = self._stem(builder, image, init_channels)
        outputs: list[Value] = []
        before, last, channels = stem, stem, init_channels
        for cell in range(self.num_cells):
            channels *= 2 if cell in self.config.reduction_cells else 1
            output = describe_cell(builder, (before, last), self.config, number=cell, decided_as=self._key(cell), channels=channels)
            before, last = last, output
            outputs.append(output)
        features = self._head(builder, outputs)
        scores = builder.op("classifier.conv", map_spec("classifier", features, features, num_classes), features)
        logits = builder.op("classifier.resize", map_spec("resize", scores, image, num_classes), scores, image)
        labels = builder.op("classifier.argmax", map_spec("argmax", logits, logits, 1), logits)
        return builder.finish(logits=logits, labels=labels)

    def check(self, decided: Mapping[str, str]) -> None:
        """Every node of every cell needs an incoming operation other than none [reading]."""
        for key in self._keys():
            for node, names in self._into_nodes(key):
                if all(decided[name] == NONE for name in names):
                    raise GenotypeError(
                        f"choices.{names[0]}: all edges into node {node} of {_called(key)} ({', '.join(names)}) are none; "
                        "give one of them another operation"
                    )

    def never_all(self) -> tuple[NeverAll, ...]:
        """The edges into each node: not all are none."""
        if NONE not in self.config.ops:
            return ()
        return tuple(NeverAll(tuple(names), NONE) for key in self._keys() for _, names in self._into_nodes(key))

    def communication(self) -> nn.Module | None:
        """The chain of modules between adjacent cells, if asked for."""
        settings = self.config
        if settings.communication == NONE:
            return None
        from search_spaces.lgcnet.guided_module import MODULES, GuidedChain

        module = MODULES[settings.communication, settings.reasoning]
        groups = [f"cell_{key}" for key in self._keys()]
        return GuidedChain(groups, partial(module, len(settings.ops), dim=settings.guided_dim, gamma=settings.gamma))

    def derive(self, logits: Mapping[str, Mapping[str, Tensor]], judge: Judge | None = None) -> Mapping[str, Derivation]:
        """Largest guided logit of each edge; a node left without input gets its best operation other than none."""
        del judge
        return {name: self._derive(groups) for name, groups in logits.items()}

    def _derive(self, logits: Mapping[str, Tensor]) -> Derivation:
        decided = argmax_choices(logits, self.choices())
        repairs = []
        for key in self._keys():
            for node, names in self._into_nodes(key):
                if all(decided[name] == NONE for name in names):
                    name, option = self._best_other(logits, key, names)
                    decided[name] = option
                    repairs.append(f"{name}: {option} instead of none, for node {node} of {_called(key)} had no input")
        return Derivation(decided, tuple(repairs))

    def _best_other(self, logits: Mapping[str, Tensor], key: int | str, names: list[str]) -> tuple[str, str]:
        """The (edge, option other than none) of largest log-probability."""
        log_p = logits[f"cell_{key}"].detach().log_softmax(dim=-1)
        scored = [
            (float(log_p[edge.number, i]), edge_name(key, edge.number), option)
            for edge in self._edges
            for i, option in enumerate(self.config.ops)
            if option != NONE and edge_name(key, edge.number) in names
        ]
        _, name, option = max(scored, key=lambda entry: entry[0])
        return name, option

    def random_choices(self, generator: torch.Generator) -> Mapping[str, str]:
        """Uniform over all decisions, nodes without input drawn again."""
        decided: dict[str, str] = {}
        for choice in self.choices():
            decided[choice.name] = _draw(choice.options, generator)
        for key in self._keys():
            for _, names in self._into_nodes(key):
                while all(decided[name] == NONE for name in names):
                    decided.update({name: _draw(tuple(self.config.ops), generator) for name in names})
        return decided

    def _key(self, cell: int) -> int | str:
        """Key of the decisions that a cell follows: its own number, or its kind."""
        if self.config.cells == "independent":
            return cell
        return "reduction" if cell in self.config.reduction_cells else "normal"

    def _keys(self) -> tuple[int | str, ...]:
        """The distinct keys, in the order of the cells."""
        return tuple(dict.fromkeys(self._key(cell) for cell in range(self.num_cells)))

    def _into_nodes(self, key: int | str) -> list[tuple[int, list[str]]]:
        """(node, names of the edges into it) of a cell."""
        return [
            (node, [edge_name(key, edge.number) for edge in self._edges if edge.node == node])
            for node in range(self.config.num_nodes)
        ]

    def _head(self, builder: NetworkBuilder, outputs: list[Value]) -> Value:
        """The map that the classifier reads."""
        settings = self.config
        if self._fusion is not None:
            features = {stride: outputs[cell] for stride, cell in self._fused.items()}
            return self._fusion.describe(builder, features, channels=settings.head_channels)
        if settings.head == "aspp":
            return describe_aspp(builder, outputs[-1], channels=settings.head_channels, rates=settings.aspp_rates)
        if settings.head == "ppm":
            return describe_ppm(builder, outputs[-1], channels=settings.head_channels, bins=settings.ppm_bins)
        return outputs[-1]

    def _stem(self, builder: NetworkBuilder, image: Value, channels: int) -> Value:
        """Convolutions 3x3-BN-ReLU (`stem_strides`)."""
        value = image
        channels = max(1, channels // self.stem_share)
        for i, stride in enumerate(self.stem_strides):
            spec = OpSpec(
                kind="conv_bn_relu",
                in_channels=value.channels,
                height=value.height,
                width=value.width,
                out_channels=channels,
                out_height=out_size(value.height, stride),
                out_width=out_size(value.width, stride),
                kernel=3,
                stride=stride,
            )
            value = builder.op(f"stem.conv{i}", spec, value)
        return value


class Mini(LGCNet):
    """LGCNet's family in small: three cells of one node, each edge `none`, a skip or a 3x3 convolution.

    Its networks are searched at the width at which they are trained for the benchmark. Its stem is weak, two convolutions of half
    the channels, so that much depends on what is decided.
    """

    stem_strides = (2, 2)
    stem_share = 2
    search_channels = 16
    deploy_channels = 16


def _fusion_cell(config: LGCNetConfig) -> FusionCell:
    strides = SEARCHED_HEADS[config.head]
    edges = parse_edges(config.edges(), strides=strides)
    return FusionCell(edges=edges, strides=strides, ops=tuple(config.fusion_ops), up_ops=tuple(config.up_ops))


def _called(key: int | str) -> str:
    """A cell, or the cells that share their decisions, in words."""
    return f"cell {key}" if isinstance(key, int) else f"the {key} cells"


def _draw(options: tuple[str, ...], generator: torch.Generator) -> str:
    return options[draw(len(options), generator)]
