"""The FasterSeg space: its supernet with two architecture sets, and the derived networks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from nas.graph import Graph, NetworkBuilder
from nas.space import Choice, SearchSpace
from search_spaces.fasterseg.branches import branch_options, decided_choices, random_branches, read_branches
from search_spaces.fasterseg.config import FasterSegConfig, width_name
from search_spaces.fasterseg.derived import describe_derived
from search_spaces.fasterseg.lattice_choices import HEAD_WIDTH, STEM_WIDTH, lattice_choices
from search_spaces.fasterseg.official_keys import OfficialKeys, official_extras_of, official_keys_of
from search_spaces.fasterseg.supernet import OUTPUTS, SetWidths, describe_supernet

STUDENT, TEACHER = "student", "teacher"
"""The architecture sets: searched widths, and full width throughout."""


class FasterSeg(SearchSpace):
    """FasterSeg (Chen et al., FasterSeg: Searching for Faster Real-time Semantic Segmentation, ICLR 2020, arXiv 1912.10917).

    What a derived network decides differs from what the supernet does: see `search_spaces.fasterseg.branches`.

    Args:
        config: Its settings.
    """

    config: FasterSegConfig
    architecture_sets = (STUDENT, TEACHER)
    passes = (TEACHER, STUDENT, f"{STUDENT}:max", f"{STUDENT}:min")
    modes = ("max", "min", "random")
    trained_outputs = OUTPUTS
    contains_derived = False
    light_options = frozenset()

    def __init__(self, config: FasterSegConfig) -> None:
        super().__init__(config)
        self.search_channels = self.deploy_channels = config.filters
        second = TEACHER if config.fidelity == "official" else STUDENT
        self.warmup_passes = (f"{TEACHER}:max", f"{second}:min", f"{second}:random", f"{TEACHER}:random")
        largest = config.widths[-1]
        self.sets = {STUDENT: SetWidths(config.student_width, config.student_width), TEACHER: SetWidths(largest, largest)}
        self._choices = lattice_choices(config)
        self._width_decisions = tuple(one.name for one in self._choices if one.group.startswith("width_"))

    def choices(self) -> tuple[Choice, ...]:
        """Operator, input and width of each cell of the lattice; widths of stem and head."""
        return self._choices

    def initial_logits(self, group: str, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        """1e-3 throughout (SPEC section 6)."""
        del group, generator
        return torch.full(shape, 1e-3)

    def fixed(self, architecture: str) -> Mapping[str, str]:
        """The widths of stem and head, and the teacher's widths throughout."""
        widths = self.sets[architecture]
        fixed = {STEM_WIDTH: width_name(widths.stem), HEAD_WIDTH: width_name(widths.head)}
        return fixed if architecture == STUDENT else {**self._all_widths(self.config.widths[-1]), **fixed}

    def forced(self, mode: str, generator: torch.Generator) -> Mapping[str, str]:
        """The lattice at its largest or smallest widths, or each width drawn uniformly."""
        widths = self.config.widths
        if mode == "random":
            draws = torch.randint(len(widths), (len(self._width_decisions),), generator=generator).tolist()
            return {name: width_name(widths[draw]) for name, draw in zip(self._width_decisions, draws, strict=True)}
        return self._all_widths(widths[-1] if mode == "max" else widths[0])

    def _all_widths(self, twelfths: int) -> dict[str, str]:
        return dict.fromkeys(self._width_decisions, width_name(twelfths))

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
        """The supernet or the derived network; `init_channels` is F."""
        if builder.decided is None:
            return describe_supernet(builder, self.config, sets=self.sets, filters=init_channels, num_classes=num_classes)
        return describe_derived(
            builder,
            builder.decided,
            read_branches(builder.decided, self.config),
            filters=init_channels,
            num_classes=num_classes,
            with_attention=self.config.fidelity == "official",
        )

    def official_keys(self, graph: Graph) -> OfficialKeys:
        """Names in official checkpoints."""
        return official_keys_of(graph)

    def official_extras(self, graph: Graph) -> Mapping[str, str | None]:
        """The copies of shared cells, and the channel attention, which is never executed, if the network does not hold it."""
        return official_extras_of(graph)

    def random_choices(self, generator: torch.Generator) -> Mapping[str, str]:
        """Uniform over branches, lengths, places where they go down, operators and widths."""
        stem, head = (self.config.widths[int(torch.randint(len(self.config.widths), (), generator=generator))] for _ in range(2))
        branches = random_branches(self.config, head_width=head, generator=generator)
        return decided_choices(branches, self.config, stem_width=stem, head_width=head)
