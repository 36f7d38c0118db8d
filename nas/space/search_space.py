"""A search space: named decisions and one description of the network that depends on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nas.space.capabilities import (
    ArchitectureParameters,
    ArchitectureSets,
    DerivedNetworks,
    LatencyObjective,
    OfficialCheckpoints,
    Validity,
)
from nas.space.choice import Choice, check_decisions
from nas.space.deployment import Deployment
from nas.space.graph import Graph, NetworkBuilder
from nas.space.space_entry import SpaceEntry as SpaceEntry  # packages with a space of their own import it from here

if TYPE_CHECKING:
    import torch


class SearchSpace(ArchitectureParameters, ArchitectureSets, Validity, DerivedNetworks, LatencyObjective, OfficialCheckpoints, ABC):
    """A search space: `choices`, `describe` and `random_choices`; all else has defaults.

    Final subclasses describe one network and name its decisions. What they may define beside the three stands in
    `nas.space.capabilities`, in groups: the start of the architecture parameters, architecture sets and passes, validity,
    derivation, the objective's latency, official checkpoints.

    Args:
        config: The space's own dataclass; it has a `name`.
    """

    search_channels: int = 8
    """Initial channels of the supernet where `search.init_channels` leaves them open."""
    deploy_channels: int = 40
    """Initial channels of the deployed network where `deploy.init_channels` leaves them open."""

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def choices(self) -> tuple[Choice, ...]:
        """Decisions of the supernet."""

    @abstractmethod
    def describe(self, builder: NetworkBuilder, *, init_channels: int, num_classes: int) -> Graph:
        """Describe the network, once for the supernet and the derived network alike.

        The graph returned has the outputs `logits` [N, num_classes, H, W] at the size of the images and `labels` [N, 1, H, W];
        further outputs are auxiliary.
        """

    @abstractmethod
    def random_choices(self, generator: torch.Generator) -> Mapping[str, str]:
        """A valid architecture drawn at random."""

    def graph(self, deployment: Deployment, decided: Mapping[str, str] | None = None) -> Graph:
        """The graph of the supernet or, with `decided`, of a derived network.

        Raises:
            GenotypeError: If the decisions are incomplete, unknown or make no network.
        """
        options = {choice.name: choice.options for choice in self.choices()}
        if decided is not None:
            options = dict(self.genotype_choices())
            check_decisions(decided, options)
            self.check(decided)
        builder = NetworkBuilder(deployment.input, options, decided)
        return self.describe(builder, init_channels=deployment.init_channels, num_classes=deployment.num_classes)


def open_choices(space: SearchSpace, architecture: str) -> tuple[Choice, ...]:
    """The decisions that an architecture set searches."""
    fixed = space.fixed(architecture)
    return tuple(choice for choice in space.choices() if choice.name not in fixed)
