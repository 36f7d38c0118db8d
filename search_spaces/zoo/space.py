"""The zoo: hand-made networks as a space without decisions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nas.errors import ConfigError
from nas.files.shortening import shorten
from nas.space.choice import Choice
from nas.space.graph import Graph, NetworkBuilder, Value, map_spec
from nas.space.search_space import SearchSpace
from search_spaces.zoo.config import ZooConfig
from search_spaces.zoo.hand_made import OfficialKeys, Outputs
from search_spaces.zoo.layers import Layers
from search_spaces.zoo.networks import FILES, find_network

if TYPE_CHECKING:
    import torch


LARGE = 4096
"""Side of images in which maps of unlike strides have unlike sizes."""


class Zoo(SearchSpace):
    """One hand-made network: nothing is decided.

    Args:
        config: Its name.

    Shapes:
        [N, 3, H, W] -> logits [N, K, H, W].

    Raises:
        ConfigError: If there is no network of that name.
    """

    config: ZooConfig

    def __init__(self, config: ZooConfig) -> None:
        super().__init__(config)
        if config.network not in FILES:
            raise ConfigError(
                f"space.network: got {shorten(config.network)}, expected the name of a network; see nas show list=genotypes, where "
                "it is zoo/NAME"
            )
        self.network = find_network(config.network)
        self.search_channels = self.deploy_channels = self.network.stem_channels
        self.size_multiple = self.network.multiple

    def choices(self) -> tuple[Choice, ...]:
        """None."""
        return ()

    def random_choices(self, generator: torch.Generator) -> Mapping[str, str]:
        """No decisions, the same each time."""
        del generator
        return {}

    def describe(self, builder: NetworkBuilder, *, init_channels: int, num_classes: int) -> Graph:
        """The network, resizing of its scores to the size of the images, labels; the same resizing of auxiliary scores."""
        self._check(builder.input_size, init_channels)
        large = Layers(NetworkBuilder((LARGE, LARGE), {}, decided={}), num_classes=num_classes)
        self._outputs(large)
        layers = Layers(builder, num_classes=num_classes, passed=large.passed)
        outputs, logits, auxiliary = self._outputs(layers)
        labels = builder.op("labels", map_spec("argmax", logits, logits, 1), logits)
        unread = {f"unread.{number}": value for number, value in enumerate(outputs.unread)}
        return builder.finish(logits=logits, labels=labels, **auxiliary, **unread).without(unread)

    def _outputs(self, layers: Layers) -> tuple[Outputs, Value, dict[str, Value]]:
        """What the network ends in, with its logits and those of auxiliary heads at the size of the images."""
        outputs = self.network.describe(layers)
        logits = layers.resize("logits", outputs.scores, layers.image, kind=outputs.resize)
        auxiliary = {
            name: layers.resize(f"{name}.logits", scores, layers.image, kind=outputs.resize)
            for name, scores in outputs.auxiliary.items()
        }
        return outputs, logits, auxiliary

    def official_keys(self, graph: Graph) -> OfficialKeys | None:
        """Names in the checkpoints that the network's authors released."""
        return None if self.network.official_keys is None else self.network.official_keys(graph)

    def official_extras(self, graph: Graph) -> Mapping[str, str | None]:
        """Tensors of these checkpoints that are dropped."""
        return {} if self.network.official_extras is None else self.network.official_extras(graph)

    def _check(self, size: tuple[int, int], init_channels: int) -> None:
        name, multiple = self.config.network, self.size_multiple
        if init_channels != self.network.stem_channels:
            raise ConfigError(
                f"deploy.init_channels: got {init_channels}, expected {self.network.stem_channels}, for the widths of {name} are "
                "fixed; leave it away"
            )
        if any(side % multiple for side in size):
            wanted = "x".join(str(max(1, round(side / multiple)) * multiple) for side in size)
            raise ConfigError(f"deploy.input: got {size[0]}x{size[1]}, expected multiples of {multiple} for {name}, e.g. {wanted}")
