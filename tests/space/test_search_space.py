"""Decisions: checking, argmax, and what a space derives by default."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch

from nas.errors import GenotypeError
from nas.ops import OpSpec
from nas.space.choice import Choice, argmax_choices, check_decisions
from nas.space.deployment import Deployment
from nas.space.graph import Graph, NetworkBuilder
from nas.space.search_space import SearchSpace

CHOICES = (
    Choice("first", ("small", "large"), "kernel", 0),
    Choice("second", ("small", "large"), "kernel", 1),
)
KERNELS = {"small": 1, "large": 3}


class TwoConvolutions(SearchSpace):
    """Two convolutions in a row, each of kernel 1 or 3."""

    def choices(self) -> tuple[Choice, ...]:
        return CHOICES

    def describe(self, builder: NetworkBuilder, *, init_channels: int, num_classes: int) -> Graph:
        value = builder.image()
        height, width = builder.input_size
        for name, channels in (("first", init_channels), ("second", num_classes)):
            specs = {
                option: OpSpec(
                    kind="relu_conv_bn",
                    in_channels=value.channels,
                    height=height,
                    width=width,
                    out_channels=channels,
                    out_height=height,
                    out_width=width,
                    kernel=kernel,
                )
                for option, kernel in KERNELS.items()
            }
            chosen = builder.choice(name, specs, value)
            assert chosen is not None
            value = chosen
        return builder.finish(logits=value)

    def check(self, decided: Mapping[str, str]) -> None:
        if set(decided.values()) == {"large"}:
            raise GenotypeError("choices.first: both large; make one small")

    def random_choices(self, generator: torch.Generator) -> Mapping[str, str]:
        draw = torch.randint(2, (2,), generator=generator).tolist()
        return {"first": tuple(KERNELS)[draw[0]], "second": "small"}


SPACE = TwoConvolutions(None)


def test_a_graph_is_open_without_decisions_and_fixed_with_them() -> None:
    open_graph = SPACE.graph(Deployment((8, 6), 4, 2))
    assert [len(node.specs) for node in open_graph.nodes] == [0, 2, 2]
    graph = SPACE.graph(Deployment((8, 6), 4, 2), {"first": "large", "second": "small"})
    assert [node.spec.kernel for node in graph.nodes[1:]] == [3, 1]


@pytest.mark.parametrize(
    ("decided", "message"),
    [
        ({"first": "small"}, "choices.second: missing, expected one of small, large"),
        ({"first": "small", "second": "huge"}, "choices.second: got 'huge', expected one of small, large"),
        ({"first": "small", "second": "small", "third": "small"}, "choices.third: this space has no such decision"),
        ({"first": "large", "second": "large"}, "choices.first: both large; make one small"),
        ({}, "choices.first: missing"),
    ],
)
def test_decisions_that_make_no_network_are_refused_by_name(decided: dict[str, str], message: str) -> None:
    with pytest.raises(GenotypeError, match=message):
        SPACE.graph(Deployment((8, 6), 4, 2), decided)


def test_complete_decisions_pass() -> None:
    check_decisions({"first": "small", "second": "large"}, SPACE.genotype_choices())


def test_argmax_takes_the_row_of_each_decision_and_the_first_of_equals() -> None:
    logits = {"kernel": torch.tensor([[1.0, 1.0], [-2.0, -1.0]], requires_grad=True)}
    assert argmax_choices(logits, CHOICES) == {"first": "small", "second": "large"}


def test_a_space_must_define_three_methods() -> None:
    assert SearchSpace.__abstractmethods__ == {"choices", "describe", "random_choices"}


def test_the_plan_holds_what_any_derived_network_needs() -> None:
    deployment = Deployment((8, 6), 4, 2)
    plan = SPACE.plan(deployment)
    derived = {
        spec
        for first, second in (("small", "small"), ("small", "large"), ("large", "small"))
        for spec in SPACE.graph(deployment, {"first": first, "second": second}).specs()
    }
    assert set(plan) == derived
    assert len(plan) == 4
