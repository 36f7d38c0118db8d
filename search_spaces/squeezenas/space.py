"""The SqueezeNAS spaces: a chain of blocks, each with a choice between inverted residuals and a skip, under a decoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nas.errors import ConfigError
from nas.ops import OpSpec, out_size
from nas.space.choice import Choice
from nas.space.draws import draw
from nas.space.graph import Graph, NetworkBuilder, Value, map_spec
from nas.space.search_space import SearchSpace
from search_spaces.squeezenas.config import FILTERS, SKIP, SqueezeNASSmallConfig
from search_spaces.squeezenas.decoders import describe_aspp, describe_lr_aspp
from search_spaces.squeezenas.official_keys import OfficialKeys, block_keys, decoder_keys, encoder_ends

if TYPE_CHECKING:
    import torch
    from torch import Tensor

DECODERS = {"lr_aspp": describe_lr_aspp, "aspp": describe_aspp}


@dataclass(frozen=True, slots=True)
class Block:
    """Searched block: y = [x +] o(x), o one of twelve inverted residuals or a skip; x is added where the shapes agree.

    Shaw et al., "SqueezeNAS", ICCV Workshops 2019, arXiv:1908.01748.

    Args:
        number: Its number, from 0 over all stages.
        out_channels: Channels that leave it.
        stride: 1 or 2.

    Shapes:
        [N, Cin, H, W] -> [N, out_channels, ceil(H / stride), ceil(W / stride)].
    """

    number: int
    out_channels: int
    stride: int

    @property
    def decision(self) -> str:
        """Name of its decision."""
        return f"block.{self.number}"


class SqueezeNAS(SearchSpace):
    """SqueezeNAS: a stem, a chain of searched blocks, a decoder.

    Shaw, Hunter, Iandola, Sidhu, "SqueezeNAS: Fast Neural Architecture Search for Faster Semantic Segmentation", ICCV Workshops
    2019, arXiv:1908.01748.

    Args:
        config: Its settings.

    Shapes:
        [N, 3, H, W] -> logits [N, K, H, W].
    """

    config: SqueezeNASSmallConfig
    light_options = frozenset({SKIP})
    noise_per_image = True

    def __init__(self, config: SqueezeNASSmallConfig) -> None:
        super().__init__(config)
        self.search_channels = self.deploy_channels = config.stem_channels
        stages = [(config.channels_of(i), repeats, stride) for i, (_, repeats, stride) in enumerate(config.stages)]
        shapes = [(channels, stride if i == 0 else 1) for channels, repeats, stride in stages for i in range(repeats)]
        self.blocks = tuple(Block(number, channels, stride) for number, (channels, stride) in enumerate(shapes))

    def choices(self) -> tuple[Choice, ...]:
        """One decision a block, all with the same options."""
        return tuple(Choice(block.decision, tuple(self.config.ops), "blocks", block.number) for block in self.blocks)

    def describe(self, builder: NetworkBuilder, *, init_channels: int, num_classes: int) -> Graph:
        """Stem, blocks, last convolution, decoder, resizing to the size of the images, labels."""
        image = builder.image()
        self._check_channels(init_channels)
        value = builder.op("stem.conv", _conv_spec(image, init_channels, kernel=3, stride=2), image)
        outputs: list[Value] = []
        for block in self.blocks:
            value = self._block(builder, value, block)
            outputs.append(value)
        if self.config.last_channels is not None:
            value = builder.op("last.conv", _conv_spec(value, self.config.last_channels), value)
        low = outputs[self.config.low_level_block]
        scores = DECODERS[self.config.decoder](builder, value, low, self.config, num_classes=num_classes)
        logits = builder.op("classifier.resize", map_spec("resize_corners", scores, image, num_classes), scores, image)
        labels = builder.op("classifier.argmax", map_spec("argmax", logits, logits, 1), logits)
        return builder.finish(logits=logits, labels=labels)

    def initial_logits(self, group: str, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Ones, so that the start is uniform (official code)."""
        import torch

        del group, generator
        return torch.ones(shape)

    def official_keys(self, graph: Graph) -> OfficialKeys:
        """Names in the released checkpoints."""
        kinds = {node.name: node.spec.kind for node in graph.nodes if node.role == "op"}
        keys = encoder_ends(last=self.config.last_channels is not None)
        for block in self.blocks:
            keys |= block_keys(block.number, kinds.get(f"{block.decision}.op"))
        return keys | decoder_keys(self.config.decoder, self.config.aspp_rates)

    def random_choices(self, generator: torch.Generator) -> Mapping[str, str]:
        """Uniform over all decisions."""
        ops = self.config.ops
        return {block.decision: ops[draw(len(ops), generator)] for block in self.blocks}

    def _block(self, builder: NetworkBuilder, value: Value, block: Block) -> Value:
        """The chosen operation; where shapes agree, its input is added."""
        residual = block.stride == 1 and value.channels == block.out_channels
        specs = {name: _choice_spec(name, value, block, residual=residual) for name in self.config.ops}
        chosen = builder.choice(f"{block.decision}.op", specs, value, decision=block.decision)
        if residual:
            return builder.add(f"{block.decision}.sum", [value, chosen])
        assert chosen is not None
        return chosen

    def _check_channels(self, init_channels: int) -> None:
        groups = [FILTERS[name][2] for name in self.config.ops if name != SKIP]
        if init_channels % max(groups, default=1):
            raise ConfigError(
                f"init_channels: got {init_channels}, expected a multiple of {max(groups)}, the groups of a choice in space.ops"
            )


def _choice_spec(name: str, value: Value, block: Block, *, residual: bool) -> OpSpec:
    """The operation of a choice; the skip of a residual block is none, so that the block is the identity."""
    shape = OpSpec(
        kind="none",
        in_channels=value.channels,
        height=value.height,
        width=value.width,
        out_channels=block.out_channels,
        out_height=out_size(value.height, block.stride),
        out_width=out_size(value.width, block.stride),
        stride=block.stride,
    )
    if name == SKIP:
        kind = "none" if residual else "relu_conv_bn" if block.stride == 1 else "factorized_reduce"
        return replace(shape, kind=kind)
    kernel, expansion, groups, dilation = FILTERS[name]
    return replace(shape, kind="inverted_residual", kernel=kernel, expansion=expansion, groups=groups, dilation=dilation)


def _conv_spec(value: Value, channels: int, *, kernel: int = 1, stride: int = 1) -> OpSpec:
    """Convolution, batch norm, ReLU."""
    height, width = out_size(value.height, stride), out_size(value.width, stride)
    shape = map_spec("conv_bn_relu", value, Value(value.index, channels, height, width), channels)
    return replace(shape, kernel=kernel, stride=stride)
