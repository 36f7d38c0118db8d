"""What a space is that defines nothing beside its three methods."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

import pytest
import torch

from nas.space.choice import Choice
from nas.space.graph import Graph, NetworkBuilder
from nas.space.search_space import SearchSpace
from nas.space.weights import uniform

CHOICES = (
    Choice("first", ("small", "large"), "kernel", 0),
    Choice("second", ("small", "large"), "kernel", 1),
)


class Plain(SearchSpace):
    """Two decisions."""

    def choices(self) -> tuple[Choice, ...]:
        return CHOICES

    def describe(self, builder: NetworkBuilder, *, init_channels: int, num_classes: int) -> Graph:
        raise AssertionError("no test here describes a network")

    def random_choices(self, generator: torch.Generator) -> Mapping[str, str]:
        return {choice.name: choice.options[0] for choice in CHOICES}


SPACE = Plain(SimpleNamespace(name="plain"))
LOGITS = {"a": {"kernel": torch.tensor([[1.0, 0.0], [0.0, 1.0]])}, "b": {"kernel": torch.tensor([[0.0, 1.0], [1.0, 0.0]])}}


def test_architecture_parameters_start_near_zero_and_nothing_guides_them() -> None:
    logits = SPACE.initial_logits("kernel", (2, 2), torch.Generator().manual_seed(0))
    assert logits.shape == (2, 2)
    assert 0 < logits.abs().max() < 1e-2
    assert SPACE.communication() is None


def test_there_is_one_architecture_that_searches_every_decision_and_no_pass_is_forced() -> None:
    assert (SPACE.architecture_sets, SPACE.passes, SPACE.modes) == (("default",), (), ())
    assert SPACE.fixed("default") == {}
    with pytest.raises(ValueError, match="mode: got 'max', and space plain has none"):
        SPACE.forced("max", torch.Generator())


def test_every_combination_of_options_is_a_network() -> None:
    SPACE.check({"first": "large", "second": "large"})
    assert SPACE.never_all() == ()


def test_each_set_derives_its_argmax_and_genotypes_have_the_decisions_of_the_supernet() -> None:
    derived = SPACE.derive(LOGITS)
    assert derived["a"].choices == {"first": "small", "second": "large"}
    assert derived["b"].choices == {"first": "large", "second": "small"}
    assert derived["a"].repairs == derived["b"].repairs == ()
    assert SPACE.genotype_choices() == {"first": ("small", "large"), "second": ("small", "large")}
    assert SPACE.alternatives(LOGITS["a"], "a") == {"": derived["a"].choices}
    assert SPACE.output_of(derived["a"].choices) == "logits"


def test_the_objective_has_the_weights_as_they_are_whose_latency_is_that_of_the_open_graph() -> None:
    weights = uniform(CHOICES)
    assert SPACE.latency_views(weights) == [(1.0, weights)]
    assert SPACE.expected_latency(None, lambda spec: 0.0, overhead=0.0) is None  # type: ignore[arg-type]


def test_there_are_no_official_checkpoints() -> None:
    graph = Graph((), {})
    assert SPACE.official_keys(graph) is None
    assert SPACE.official_extras(graph) == {}
