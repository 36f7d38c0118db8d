"""The supernet: one network with all candidates, its architecture sets and their expected latency, in one forward."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nas import relax
from nas.architecture import Architecture
from nas.cost.expected import ExpectedLatency
from nas.network import Network
from nas.relax.weights import Weights
from nas.space import Derivation, SearchSpace


class Draw(NamedTuple):
    """How the weights of one pass are drawn; a tuple, for Fabric passes no frozen dataclass through in mixed precision.

    Args:
        relaxation: A key of `nas.relax.RELAXATIONS`.
        tau: Temperature > 0.
        generator: Source of the noise, on the CPU.
        architecture: The architecture set.
        per_image: Whether each image of a batch has a draw of its own.
    """

    relaxation: str
    tau: float
    generator: torch.Generator
    architecture: str = "default"
    per_image: bool = False


class Supernet(nn.Module):
    """Network, architecture parameters and expected latency of a search.

    Args:
        space: The search space.
        network: Network of the open graph at the search's widths.
        latencies: Expected latency at the deployed shape by each table; none: latency is not looked at.
        generator: Source of the initial logits.
    """

    def __init__(
        self, space: SearchSpace, network: Network, latencies: Sequence[ExpectedLatency], *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.space = space
        self.choices = space.choices()
        self.network = network
        self.latencies = nn.ModuleList(latencies)
        self.architectures = nn.ModuleDict({name: Architecture(space, generator) for name in space.architecture_sets})

    def forward(self, images: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """Draw weights, run the network and the latency with the same weights.

        Args:
            images: [N, 3, H, W].
            draw: How the weights are drawn.

        Returns:
            Logits [N, classes, H, W] and the expected latencies [K], one for each table in its unit; where each image has a draw of
            its own, the mean over images.
        """
        with torch.autocast(images.device.type, enabled=False):
            weights = self.sample(draw, batch=len(images) if draw.per_image else None)
            means = [latency(weights).mean() for latency in self.latencies]
            latencies = torch.stack(means) if means else images.new_zeros(0)
        logits: Tensor = self.network(images, weights)
        return logits, latencies

    @property
    def latency(self) -> ExpectedLatency | None:
        """Expected latency by the first table."""
        if not self.latencies:
            return None
        first = self.latencies[0]
        assert isinstance(first, ExpectedLatency)
        return first

    def sample(self, draw: Draw, *, batch: int | None = None) -> Weights:
        """The weights of one pass: for all images alike, or for each of `batch` images."""
        return relax.sample(
            self.architectures[draw.architecture](),
            self.choices,
            relaxation=draw.relaxation,
            tau=draw.tau,
            generator=draw.generator,
            batch=batch,
            architecture=draw.architecture,
            never_all=self.space.never_all(),
        )

    def guided_logits(self) -> dict[str, dict[str, Tensor]]:
        """Architecture set -> group -> alpha_guided [p, q]."""
        return {name: architecture() for name, architecture in self.architectures.items()}

    def derive(self) -> Mapping[str, Derivation]:
        """The discrete architecture of each set as it stands."""
        return self.space.derive({name: {g: v.detach() for g, v in s.items()} for name, s in self.guided_logits().items()})

    def arch_parameters(self) -> Iterator[nn.Parameter]:
        """Logits and communication modules."""
        return self.architectures.parameters()

    def alpha_parameters(self) -> Iterator[nn.Parameter]:
        """The logits of all architecture sets."""
        for architecture in self._sets():
            yield from architecture.alpha.parameters()

    def communication_parameters(self) -> Iterator[nn.Parameter]:
        """The communication modules of all architecture sets."""
        for architecture in self._sets():
            if architecture.communication is not None:
                yield from architecture.communication.parameters()

    def _sets(self) -> Iterator[Architecture]:
        for module in self.architectures.values():
            assert isinstance(module, Architecture)
            yield module

    def weight_parameters(self) -> Iterator[nn.Parameter]:
        """Everything else: the weights of the network."""
        return self.network.parameters()
