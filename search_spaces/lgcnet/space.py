"""The LGCNet search space: independent cells, communication between them, a fusion cell on top."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nas.errors import GenotypeError
from nas.graph import Graph, NetworkBuilder, Value, map_spec
from nas.ops import OpSpec, out_size
from nas.space import Choice, Derivation, SearchSpace, argmax_choices
from search_spaces.lgcnet.cell import cell_edges, describe_cell, edge_name
from search_spaces.lgcnet.config import LGCNetConfig
from search_spaces.lgcnet.fusion_cell import describe_fusion_cell, parse_edges
from search_spaces.lgcnet.guided_module import GuidedChain

NONE = "none"


class LGCNet(SearchSpace):
    """LGCNet (Lin et al., Local-to-Global Information Communication for Real-Time Semantic Segmentation Network Search).

    Args:
        config: Its settings.
    """

    config: LGCNetConfig

    def __init__(self, config: LGCNetConfig) -> None:
        super().__init__(config)
        self._edges = cell_edges(config.num_nodes)
        self._fusion_edges = parse_edges(config.fusion_edges) if config.head == "dcfc" else ()
        self.num_cells = max(config.fused_cells) + 1 if config.head == "dcfc" else config.num_cells

    def choices(self) -> tuple[Choice, ...]:
        """P decisions a cell, cells independent; then those of the fusion cell."""
        ops = tuple(self.config.ops)
        cells = [
            Choice(edge_name(cell, edge.number), ops, self._group(cell), edge.number)
            for cell in range(self.num_cells)
            for edge in self._edges
        ]
        fusion: dict[tuple[str, ...], list[str]] = defaultdict(list)
        ordered = [decision for edge in self._fusion_edges for decision in edge.decisions()]
        rows = []
        for name, options in ordered:
            rows.append(Choice(name, options, f"fusion_{len(options)}", len(fusion[options])))
            fusion[options].append(name)
        return (*cells, *rows)

    def describe(self, builder: NetworkBuilder, *, init_channels: int, num_classes: int) -> Graph:
        """Stem, cells, head, classifier, upsampling to the size of the images, labels."""
        image = builder.image()
        stem = self._stem(builder, image, init_channels)
        outputs: list[Value] = []
        before, last, channels = stem, stem, init_channels
        for cell in range(self.num_cells):
            reduction = cell in self.config.reduction_cells
            channels *= 2 if reduction else 1
            output = describe_cell(
                builder,
                (before, last),
                number=cell,
                channels=channels,
                num_nodes=self.config.num_nodes,
                ops=self.config.ops,
                reduction=reduction,
                across_reduction=cell - 1 in self.config.reduction_cells,
            )
            before, last = last, output
            outputs.append(output)
        if self.config.head == "dcfc":
            fused = [outputs[cell] for cell in self.config.fused_cells]
            last = describe_fusion_cell(builder, fused, edges=self._fusion_edges, channels=self.config.fusion_channels)
        scores = builder.op("classifier.conv", map_spec("classifier", last, last, num_classes), last)
        logits = builder.op("classifier.resize", map_spec("resize", scores, image, num_classes), scores, image)
        labels = builder.op("classifier.argmax", map_spec("argmax", logits, logits, 1), logits)
        return builder.finish(logits=logits, labels=labels)

    def check(self, decided: Mapping[str, str]) -> None:
        """Every node of every cell needs an incoming operation other than none (SPEC section 7)."""
        for cell in range(self.num_cells):
            for node, names in self._into_nodes(cell):
                if all(decided[name] == NONE for name in names):
                    raise GenotypeError(
                        f"choices.{names[0]}: all edges into node {node} of cell {cell} ({', '.join(names)}) are none; "
                        "give one of them another operation"
                    )

    def communication(self) -> nn.Module | None:
        """The chain of GCN-guided modules, if asked for."""
        if self.config.communication == NONE:
            return None
        groups = [self._group(cell) for cell in range(self.num_cells)]
        return GuidedChain(groups, len(self.config.ops), dim=self.config.guided_dim, gamma=self.config.gamma)

    def derive(self, logits: Mapping[str, Mapping[str, Tensor]]) -> Mapping[str, Derivation]:
        """Largest guided logit of each edge; a node left without input gets its best operation other than none."""
        return {name: self._derive(groups) for name, groups in logits.items()}

    def _derive(self, logits: Mapping[str, Tensor]) -> Derivation:
        decided = argmax_choices(logits, self.choices())
        repairs = []
        for cell in range(self.num_cells):
            for node, names in self._into_nodes(cell):
                if all(decided[name] == NONE for name in names):
                    name, option = self._best_other(logits, cell, names)
                    decided[name] = option
                    repairs.append(f"{name}: {option} instead of none, for node {node} of cell {cell} had no input")
        return Derivation(decided, tuple(repairs))

    def _best_other(self, logits: Mapping[str, Tensor], cell: int, names: list[str]) -> tuple[str, str]:
        """The (edge, option other than none) of largest log-probability."""
        log_p = torch.log_softmax(logits[self._group(cell)].detach(), dim=-1)
        scored = [
            (float(log_p[edge.number, i]), edge_name(cell, edge.number), option)
            for edge in self._edges
            for i, option in enumerate(self.config.ops)
            if option != NONE and edge_name(cell, edge.number) in names
        ]
        _, name, option = max(scored, key=lambda entry: entry[0])
        return name, option

    def random_choices(self, generator: torch.Generator) -> Mapping[str, str]:
        """Uniform over all decisions, nodes without input drawn again."""
        decided: dict[str, str] = {}
        for choice in self.choices():
            decided[choice.name] = _draw(choice.options, generator)
        for cell in range(self.num_cells):
            for _, names in self._into_nodes(cell):
                while all(decided[name] == NONE for name in names):
                    decided.update({name: _draw(tuple(self.config.ops), generator) for name in names})
        return decided

    def _group(self, cell: int) -> str:
        return f"cell_{cell}"

    def _into_nodes(self, cell: int) -> list[tuple[int, list[str]]]:
        """(node, names of the edges into it) of a cell."""
        return [
            (node, [edge_name(cell, edge.number) for edge in self._edges if edge.node == node])
            for node in range(self.config.num_nodes)
        ]

    def _stem(self, builder: NetworkBuilder, image: Value, channels: int) -> Value:
        """Three conv 3x3-BN-ReLU, the first two with stride 2: stride 4 in all [reading]."""
        value = image
        for i, stride in enumerate((2, 2, 1)):
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


def _draw(options: tuple[str, ...], generator: torch.Generator) -> str:
    return options[int(torch.randint(len(options), (), generator=generator))]
