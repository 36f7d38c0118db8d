"""The network that a derived encoder is pretrained in: what the segmentation's classifiers read, pooled, and a linear layer.

A classifier is what depends on the number of classes, of whatever kind.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

from nas.network.network import LOGITS, Network
from nas.ops.kinds import sized_by_last_input
from nas.space.design import Design
from nas.space.graph import Graph, NetworkBuilder, Value

ENCODER = "encoder."
"""Prefix of the names of weights in the encoder of an image classifier."""
HEAD = frozenset({"classifier.weight", "classifier.bias"})
"""Names of all its other weights."""


class ImageClassifier(nn.Module):
    """Encoder, global average pooling, linear layer.

    Args:
        encoder: Graph of the encoder; its outputs are the feature maps.
        num_classes: K.
    """

    def __init__(self, encoder: Graph, num_classes: int) -> None:
        super().__init__()
        self.encoder = Network(encoder)
        channels = sum(encoder.nodes[index].spec.out_channels for index in encoder.outputs.values())
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Images [N, 3, H, W], any H and W -> logits [N, K]."""
        maps = self.encoder.forward_with_aux(images).values()
        logits: Tensor = self.classifier(torch.cat([features.mean(dim=(2, 3)) for features in maps], dim=1))
        return logits


def is_of_images(names: Collection[str]) -> bool:
    """Whether these are names of the weights of an image classifier, whatever its encoder."""
    return HEAD <= set(names) and all(name in HEAD or name.startswith(ENCODER) for name in names)


def encoder_graph(graph: Graph, classifiers: Collection[str]) -> Graph:
    """The part of a derived network that its classifiers read, with nodes and modules of the same names.

    The network is described again up to its classifiers: what is only read by them or after them is left out, and so are auxiliary
    heads. The outputs are the maps that the classifiers read, the first under the name that `Network` asks for.

    Args:
        graph: A derived network.
        classifiers: Paths of the modules that depend on the number of classes; see `Design.class_modules`.
    """
    # The size is that of the image's own value, which nobody asks: the nodes have theirs in their specs.
    builder = NetworkBuilder((1, 1), {}, decided={})
    values: list[Value | None] = []
    features: dict[int, Value] = {}
    for node in graph.deployed().nodes:
        if node.role == "input":
            values.append(builder.image())
            continue
        inputs = [value for value in (values[index] for index in node.inputs) if value is not None]
        behind = len(inputs) < len(node.inputs)
        if behind or node.module in classifiers:
            read = inputs[:-1] if sized_by_last_input(node.spec.kind) else inputs
            features.update({} if behind else {value.index: value for value in read})
            values.append(None)
        else:
            values.append(builder.op(node.name, node.spec, *inputs, module_name=node.module))
    return builder.finish(**{f"features_{i}" if i else LOGITS: value for i, value in enumerate(features.values())})


def build_image_classifier(design: Design, num_classes: int) -> ImageClassifier:
    """The image classifier on the encoder of a derived network, with fresh weights.

    Raises:
        GenotypeError: If the genotype does not fit its space.
    """
    return ImageClassifier(encoder_graph(design.graph, design.class_modules), num_classes)
