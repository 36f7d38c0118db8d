"""The FasterSeg space: its supernet with two architecture sets, and the derived networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from nas.ops import OpSpec
from nas.space.capabilities import Derivation, Judge
from nas.space.choice import Choice
from nas.space.deployment import Deployment
from nas.space.draws import draw, draws
from nas.space.graph import Graph, NetworkBuilder
from nas.space.search_space import SearchSpace
from search_spaces.fasterseg.config import FasterSegConfig, student_width, width_name
from search_spaces.fasterseg.deployed.branches import branch_options, decided_choices, random_branches, read_branches
from search_spaces.fasterseg.deployed.derived import describe_derived
from search_spaces.fasterseg.derivation.derivation import Parameters, branch_score, choose_branches, derive_all
from search_spaces.fasterseg.latency.decoupled import decoupled
from search_spaces.fasterseg.latency.deployed_lattice import DeployedLattice, plan_specs
from search_spaces.fasterseg.lattice.architecture_sets import OUTPUTS, SetWidths
from search_spaces.fasterseg.lattice.lattice_choices import HEAD_WIDTH, STEM_WIDTH, lattice_choices
from search_spaces.fasterseg.official_keys import OfficialKeys, official_extras_of, official_keys_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from nas.space.weights import Weights

STUDENT, TEACHER = "student", "teacher"
"""The architecture sets: searched widths, and full width throughout."""
BRANCH_OUTPUTS = {"32+8": "8s_32s", "32+16": "16s_32s"}
"""Option of `branches` -> the output of the supernet over these branches."""
Latency = Callable[[Mapping[str, str]], float]
"""Predicted latency of a derived network in ms."""


class FasterSeg(SearchSpace):
    """FasterSeg: a lattice of cells that a student and a teacher share, and the networks with two branches derived from it.

    Chen, Gong, Liu, Zhang, Li, Wang, "FasterSeg: Searching for Faster Real-time Semantic Segmentation", ICLR 2020,
    arXiv:1912.10917. What a derived network decides differs from what the supernet does: see
    `search_spaces.fasterseg.deployed.branches`.

    Args:
        config: Its settings.

    Shapes:
        [N, 3, H, W] -> logits [N, K, H, W].
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
        narrow, largest = student_width(config), config.widths[-1]
        self.sets = {STUDENT: SetWidths(narrow, narrow), TEACHER: SetWidths(largest, largest)}
        self._choices = lattice_choices(config)
        self._width_decisions = tuple(one.name for one in self._choices if one.group.startswith("width_"))

    def choices(self) -> tuple[Choice, ...]:
        """Operator, input and width of each cell of the lattice; widths of stem and head."""
        return self._choices

    def initial_logits(self, group: str, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        """1e-3 throughout (official code)."""
        import torch

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
            drawn = draws(len(widths), len(self._width_decisions), generator)
            return {name: width_name(widths[one]) for name, one in zip(self._width_decisions, drawn, strict=True)}
        return self._all_widths(widths[-1] if mode == "max" else widths[0])

    def _all_widths(self, twelfths: int) -> dict[str, str]:
        return dict.fromkeys(self._width_decisions, width_name(twelfths))

    def genotype_choices(self) -> Mapping[str, tuple[str, ...]]:
        """Branches, widths of stem and head, and operator, scale and width of each layer of each branch."""
        return branch_options(self.config)

    def derive(self, logits: Mapping[str, Mapping[str, Tensor]], judge: Judge | None = None) -> Mapping[str, Derivation]:
        """Network of each set whose branches score best by the mIoU of the supernet's outputs over them.

        Without scores, which are there from the first evaluation on, branches end at 32 and 16, as those of the released networks.
        Officially both sets take the branches of the student's scores (Q11 of the README).
        """
        known = judge or Judge({})
        derived = {}
        for name, groups in logits.items():
            scores = known.scores.get(STUDENT if self.config.fidelity == "official" else name)
            networks = self.alternatives(groups, name)
            derived[name] = Derivation(networks[self._branches(networks, scores, known.latency)])
        return derived

    def alternatives(self, logits: Mapping[str, Tensor], architecture: str) -> Mapping[str, Mapping[str, str]]:
        """The networks of the two combinations of branches. The teacher has no skips, so that it keeps all layers."""
        widths = self.sets[architecture]
        return derive_all(
            Parameters.of(logits),
            config=self.config,
            stem_width=widths.stem,
            head_width=widths.head,
            keep_layers=architecture == TEACHER,
        )

    def _branches(
        self, networks: Mapping[str, Mapping[str, str]], scores: Mapping[str, float] | None, latency: Latency | None
    ) -> str:
        """The option of `branches`."""
        if scores is None:
            return "32+16"
        of = {}
        for option, output in BRANCH_OUTPUTS.items():
            of[option] = branch_score(scores[output], None if latency is None else latency(networks[option]))
        return choose_branches(of["32+8"], of["32+16"])

    def output_of(self, choices: Mapping[str, str]) -> str:
        """The output over the network's branches."""
        return BRANCH_OUTPUTS[choices["branches"]]

    def plan(self, deployment: Deployment) -> tuple[OpSpec, ...]:
        """The operations of derived networks and of the lattice's expected latency; the supernet's decoder is another."""
        return plan_specs(DeployedLattice(self.config, deployment))

    def expected_latency(self, deployment: Deployment, cost: Callable[[OpSpec], float], *, overhead: float) -> nn.Module:
        """Expected latency of the networks for which the lattice stands; see `lattice_latency`."""
        from search_spaces.fasterseg.latency.expected import lattice_latency

        return lattice_latency(DeployedLattice(self.config, deployment), cost, overhead=overhead)

    def latency_views(self, weights: Weights) -> Sequence[tuple[float, Weights]]:
        """Operators, paths and widths apart; see `decoupled`."""
        return decoupled(weights, self.config)

    def check(self, decided: Mapping[str, str]) -> None:
        """Refuse decisions that are well-formed but make no network.

        Raises:
            GenotypeError: With the name of the offending decision.
        """
        read_branches(decided, self.config)

    def describe(self, builder: NetworkBuilder, *, init_channels: int, num_classes: int) -> Graph:
        """The supernet or the derived network; `init_channels` is F."""
        if builder.decided is None:
            from search_spaces.fasterseg.lattice.supernet import describe_supernet

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
        stem, head = (self.config.widths[draw(len(self.config.widths), generator)] for _ in range(2))
        branches = random_branches(self.config, head_width=head, generator=generator)
        return decided_choices(branches, self.config, stem_width=stem, head_width=head)
