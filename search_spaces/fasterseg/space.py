"""The FasterSeg space: what its networks decide, and the derived network of these decisions."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from nas.errors import ConfigError
from nas.graph import Graph, NetworkBuilder
from nas.space import Choice, SearchSpace
from search_spaces.fasterseg.branches import branch_options, decided_choices, random_branches, read_branches
from search_spaces.fasterseg.config import FasterSegConfig
from search_spaces.fasterseg.derived import describe_derived
from search_spaces.fasterseg.official_keys import OfficialKeys, official_extras_of, official_keys_of


class FasterSeg(SearchSpace):
    """FasterSeg (Chen et al., FasterSeg: Searching for Faster Real-time Semantic Segmentation, ICLR 2020, arXiv 1912.10917).

    What a derived network decides differs from what a supernet would: see `search_spaces.fasterseg.branches`.

    Args:
        config: Its settings.
    """

    config: FasterSegConfig

    def __init__(self, config: FasterSegConfig) -> None:
        super().__init__(config)
        self.search_channels = self.deploy_channels = config.filters

    def choices(self) -> tuple[Choice, ...]:
        """Nothing: there is no supernet."""
        return ()

    def genotype_choices(self) -> Mapping[str, tuple[str, ...]]:
        """Branches, widths of stem and head, and operator, scale and width of each layer of each branch."""
        return branch_options(self.config)

    def check(self, decided: Mapping[str, str]) -> None:
        """Refuse decisions that are well-formed but make no network.

        Raises:
            GenotypeError: With the name of the offending decision.
        """
        read_branches(decided, self.config)

    def describe(self, builder: NetworkBuilder, *, init_channels: int, num_classes: int) -> Graph:
        """The derived network; `init_channels` is F.

        Raises:
            ConfigError: If decisions are open.
        """
        if builder.decided is None:
            raise ConfigError(
                "space: fasterseg has derived networks only, expected a space with a supernet; "
                "take another space, or build from a genotype, e.g. genotype=fasterseg/student"
            )
        branches = read_branches(builder.decided, self.config)
        return describe_derived(builder, builder.decided, branches, filters=init_channels, num_classes=num_classes)

    def official_keys(self, graph: Graph) -> OfficialKeys:
        """Names in official checkpoints."""
        return official_keys_of(graph)

    def official_extras(self, graph: Graph) -> Mapping[str, str | None]:
        """The channel attention, which is never executed, and the copies of shared cells."""
        return official_extras_of(graph)

    def random_choices(self, generator: torch.Generator) -> Mapping[str, str]:
        """Uniform over branches, lengths, places where they go down, operators and widths."""
        stem, head = (self.config.widths[int(torch.randint(len(self.config.widths), (), generator=generator))] for _ in range(2))
        branches = random_branches(self.config, head_width=head, generator=generator)
        return decided_choices(branches, self.config, stem_width=stem, head_width=head)
