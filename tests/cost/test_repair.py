"""Exact repair against enumeration of all architectures, on spaces of the package and on random graphs."""

from __future__ import annotations

import itertools
import os
import random
import zlib
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from nas.cost.architecture_program import ArchitectureProgram
from nas.cost.expected import ExpectedLatency
from nas.cost.repair import (
    Limit,
    UnreachableError,
    check_reachable,
    derive_within,
    log_probability,
    most_probable_within,
)
from nas.errors import ConfigError, GenotypeError
from nas.ops import OpSpec
from nas.space.choice import Choice, NeverAll, argmax_choices
from nas.space.deployment import Deployment
from nas.space.graph import Graph, NetworkBuilder, Value
from nas.space.search_space import SearchSpace
from nas.space.weights import uniform
from nas.supernet.architecture import group_shapes
from search_spaces.lgcnet.config import LGCNetConfig
from search_spaces.lgcnet.space import LGCNet
from search_spaces.squeezenas.config import SqueezeNASSmallConfig
from search_spaces.squeezenas.space import SqueezeNAS
from tests.contracts.toy_space import Toy

SIZE = (16, 16)
OPS = {"none": "none", "skip": "identity", "pool": "max_pool", "conv": "relu_conv_bn"}


def spec(kind: str, number: int) -> OpSpec:
    """An operation that differs from others by its dilation alone, so that each has a cost of its own."""
    return OpSpec(
        kind=kind,
        in_channels=4,
        height=8,
        width=8,
        out_channels=4,
        out_height=8,
        out_width=8,
        dilation=number + 1,
    )


class RandomSpace(SearchSpace):
    """A random graph: edges that may be none into one sum or two, fixed and searched operations, pairs of widths, paths."""

    def __init__(self, seed: int, *, forbidden: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(SimpleNamespace(name="random"))
        self.seed, self.forbidden = seed, forbidden
        self._choices: list[Choice] = []
        self._sets: list[NeverAll] = []
        self.open = self._draw()

    def choices(self) -> tuple[Choice, ...]:
        return tuple(self._choices)

    def never_all(self) -> tuple[NeverAll, ...]:
        return tuple(self._sets)

    def check(self, decided: Mapping[str, str]) -> None:
        for entry in self._sets:
            if all(decided[name] == entry.option for name in entry.decisions):
                raise GenotypeError("a sum without terms")
        if self.forbidden and all(decided[name] == option for name, option in self.forbidden):
            raise GenotypeError("forbidden by the check alone")

    def describe(self, builder: NetworkBuilder, *, init_channels: int, num_classes: int) -> Graph:
        del builder, init_channels, num_classes
        return self.open

    def random_choices(self, generator: torch.Generator) -> Mapping[str, str]:
        return {
            choice.name: choice.options[int(torch.randint(len(choice.options), (), generator=generator))]
            for choice in self._choices
        }

    def _decision(self, options: tuple[str, ...], rng: random.Random, builder: NetworkBuilder, *, fresh: bool = False) -> str:
        """A new decision, or one that there is already."""
        same = [choice.name for choice in self._choices if choice.options == options]
        if same and not fresh and rng.random() < 0.3:
            return rng.choice(same)
        group = "/".join(options)
        name = f"d{len(self._choices)}"
        self._choices.append(Choice(name, options, group, len(same)))
        builder._options[name] = options
        return name

    def _draw(self) -> Graph:
        rng = random.Random(self.seed)
        builder = NetworkBuilder((8, 8), {})
        image = builder.image(4)
        values = [builder.op("stem", spec("relu_conv_bn", 0), image)]
        for step in range(3):
            kind = rng.choice(["sum", "sum", "searched", "widths", "select", "concat"])
            if len(self._choices) >= 5 and kind != "concat":
                kind = "searched"
            values.extend(getattr(self, f"_{kind}")(step, values, rng, builder))
        last = [values[-1], *rng.sample(values, min(2, len(values)))]
        total = builder.add(
            "total", [*last, *([self._edge("aux", values, rng, builder, fresh=True)] if rng.random() < 0.5 else [])]
        )
        return builder.finish(labels=builder.op("labels", spec("argmax", 0), total))

    def _edge(self, name: str, values: list[Value], rng: random.Random, builder: NetworkBuilder, *, fresh: bool) -> Value:
        options = ("none", "skip", "conv") if rng.random() < 0.7 else ("none", "pool")
        decision = self._decision(options, rng, builder, fresh=fresh)
        specs = {option: spec(OPS[option], rng.randrange(50)) for option in options}
        value = builder.choice(name, specs, rng.choice(values), decision=decision)
        assert value is not None
        return value

    def _sum(self, step: int, values: list[Value], rng: random.Random, builder: NetworkBuilder) -> Iterator[Value]:
        """Two edges of which not both are none; with luck another sum, that a path leads to instead, reads one of them as well."""
        first = len(self._choices)
        options = rng.choice([("none", "skip", "conv"), ("none", "conv")])
        edges = []
        for i in range(2):
            decision = self._decision(options, rng, builder, fresh=True)
            specs = {option: spec(OPS[option], rng.randrange(50)) for option in options}
            edges.append(builder.choice(f"{step}.edge.{i}", specs, rng.choice(values), decision=decision))
        self._sets.append(NeverAll(tuple(choice.name for choice in self._choices[first:]), "none"))
        total = builder.add(f"{step}.sum", edges)
        if rng.random() < 0.5:
            second = builder.add(f"{step}.second", [edges[0], rng.choice(values), rng.choice(values)])
            path = self._decision(("left", "right"), rng, builder, fresh=True)
            total = builder.select(f"{step}.path", {"left": total, "right": second}, decision=path)
        yield total

    def _searched(self, step: int, values: list[Value], rng: random.Random, builder: NetworkBuilder) -> Iterator[Value]:
        options = ("skip", "conv", "pool")
        decision = self._decision(options, rng, builder)
        specs = {option: spec(OPS[option], rng.randrange(50)) for option in options}
        value = builder.choice(f"{step}.searched", specs, rng.choice(values), decision=decision)
        assert value is not None
        yield value

    def _widths(self, step: int, values: list[Value], rng: random.Random, builder: NetworkBuilder) -> Iterator[Value]:
        """Two operators that share a decision on the width between them."""
        names = tuple(self._decision(("4", "8"), rng, builder, fresh=True) for _ in range(2))
        specs = {pair: spec("relu_conv_bn", rng.randrange(50)) for pair in itertools.product(("4", "8"), repeat=2)}
        value = builder.combination(f"{step}.first", names, specs, rng.choice(values))
        yield builder.combination(f"{step}.second", names[1:], {(o,): spec("relu_conv_bn", rng.randrange(50)) for o in "48"}, value)

    def _select(self, step: int, values: list[Value], rng: random.Random, builder: NetworkBuilder) -> Iterator[Value]:
        decision = self._decision(("left", "right"), rng, builder, fresh=True)
        paths = {
            o: builder.op(f"{step}.{o}", spec("relu_conv_bn", rng.randrange(50)), rng.choice(values)) for o in ("left", "right")
        }
        yield builder.select(f"{step}.path", paths, decision=decision)

    def _concat(self, step: int, values: list[Value], rng: random.Random, builder: NetworkBuilder) -> Iterator[Value]:
        joined = builder.concat(f"{step}.concat", [rng.choice(values), rng.choice(values)])
        yield builder.op(f"{step}.conv", spec("relu_conv_bn", rng.randrange(50)), joined)


def prices(seed: int, *, low: float = 0.1) -> Callable[[OpSpec], float]:
    """A positive number that looks random but depends on the seed and the key alone."""
    return lambda spec: low + zlib.crc32(f"{seed} {spec.key}".encode()) % 10007 / 1000


def random_logits(space: SearchSpace, seed: int, *, scale: float = 1.5) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {group: torch.randn(shape, generator=generator) * scale for group, shape in group_shapes(space.choices()).items()}


def small_space(number: int) -> tuple[SearchSpace, Graph]:
    """A small problem: an LGCNet cell or two, a SqueezeNAS chain, or a random graph."""
    rng = random.Random(number)
    if number % 4 == 0:
        cells, ops = rng.choice([(1, ["none", "conv_1x1", "skip_connect"]), (2, ["none", "conv_3x3"]), (1, ["conv_1x1", "none"])])
        shared = rng.choice(["independent", "shared"])
        reduction = [0] if rng.random() < 0.5 else []
        config = LGCNetConfig(num_cells=cells, reduction_cells=reduction, head="none", ops=ops, cells=shared, communication="none")
        space: SearchSpace = LGCNet(config)
    elif number % 4 == 1:
        ops = rng.sample(SqueezeNASSmallConfig().ops, 3)
        stages = [[4, 1, 2], [4, rng.choice([1, 2]), 1], [8, 2, 2]]
        space = SqueezeNAS(SqueezeNASSmallConfig(stages=stages, ops=ops, stem_channels=4, low_level_block=0))
        return space, space.graph(Deployment((33, 33), 4, 3))
    else:
        drawn = RandomSpace(number)
        return drawn, drawn.open
    return space, space.graph(Deployment(SIZE, 4, 3))


def pruned_cost(graph: Graph, decided: Mapping[str, str], price: Callable[[OpSpec], float]) -> float:
    """Cost of a derived network by walking the open graph from its labels."""
    nodes, alive, stack, total = graph.nodes, set(), [graph.outputs["labels"]], 0.0

    def option(number: int) -> tuple[int, ...]:
        node = nodes[number]
        return tuple(names.index(decided[d]) for d, names in zip(node.decisions, node.option_names, strict=True))

    def present(number: int) -> bool:
        return not nodes[number].specs or nodes[number].specs[option(number)].kind != "none"

    while stack:
        number = stack.pop()
        if number in alive:
            continue
        alive.add(number)
        node, chosen = nodes[number], option(number)
        if node.role == "select":
            stack.append(node.inputs[chosen[0]])
            continue
        if not node.specs or node.specs[chosen].kind == "none":
            continue
        stack.extend(node.inputs)
        times = sum(present(source) for source in node.inputs) - 1 if node.specs[chosen].kind == "add" else 1
        total += 0.0 if node.specs[chosen].kind == "identity" else times * price(node.specs[chosen])
    return total


def all_architectures(space: SearchSpace) -> list[dict[str, str]]:
    """Every valid architecture."""
    choices, found = space.choices(), []
    for options in itertools.product(*(choice.options for choice in choices)):
        decided = {choice.name: option for choice, option in zip(choices, options, strict=True)}
        try:
            space.check(decided)
        except GenotypeError:
            continue
        found.append(decided)
    return found


@pytest.mark.parametrize("number", range(100))
def test_repair_equals_enumeration(number: int) -> None:
    space, graph = small_space(number)
    graph = graph.deployed()
    rng = random.Random(1000 + number)
    tables = [prices(2 * number), prices(2 * number + 1)][: 1 + number // 4 % 2]
    logits = random_logits(space, number)
    architectures = all_architectures(space)
    overhead = rng.choice([0.0, 0.7])
    costs = [[overhead + pruned_cost(graph, decided, price) for price in tables] for decided in architectures]
    log_p = [log_probability(logits, space.choices(), decided) for decided in architectures]
    likeliest = costs[max(range(len(log_p)), key=log_p.__getitem__)]
    limits = []
    for k, price in enumerate(tables):
        least = min(row[k] for row in costs)
        most = rng.choice([likeliest[k], rng.choice(costs)[k], least]) * rng.choice([1 + 1e-9, 1 - 1e-4, 1.02])
        limits.append(Limit(ExpectedLatency(graph, price, overhead=overhead), most, f"table {k}"))
    within = [i for i, row in enumerate(costs) if all(cost <= limit.most for cost, limit in zip(row, limits, strict=True))]
    if not within:
        with pytest.raises(UnreachableError) as refused:
            most_probable_within(space, logits, limits)
        nearest = min(max(cost / limit.most for cost, limit in zip(row, limits, strict=True)) for row in costs)
        shares = [cost / limit.most for cost, limit in zip(refused.value.least, limits, strict=True)]
        assert max(shares) == pytest.approx(nearest, rel=1e-9)
        return
    found = most_probable_within(space, logits, limits)
    index = architectures.index(found)
    assert index in within
    assert log_p[index] == pytest.approx(max(log_p[i] for i in within), abs=1e-9)
    assert [limit.cost(found, space.choices()) for limit in limits] == pytest.approx(costs[index], rel=1e-12)


def test_the_random_problems_hold_what_is_difficult() -> None:
    """Widths over two decisions, paths, an edge that two sums read, a decision that steers two nodes, unread parts."""
    kinds: set[str] = set()
    for number in range(100):
        space, graph = small_space(number)
        nodes = graph.deployed().nodes
        kinds |= {node.role for node in nodes} | {f"{len(node.decisions)} decisions" for node in nodes}
        readers = [sum(i in other.inputs and other.name != node.name for other in nodes) for i, node in enumerate(nodes)]
        zeros = [any(spec.kind == "none" for spec in node.specs.values()) for node in nodes]
        kinds |= {"shared term" for zero, count in zip(zeros, readers, strict=True) if zero and count > 1}
        steered = [name for node in nodes for name in node.decisions]
        kinds |= {"steers two"} if len(set(steered)) < len(steered) else set()
        program = ArchitectureProgram(space.choices(), graph.deployed(), space.never_all())
        kinds |= {"unread" for decided in all_architectures(space)[:5] if len(program.reached(decided)) < len(space.choices())}
    assert {"select", "mixed", "2 decisions", "shared term", "steers two", "unread"} <= kinds


FULL = LGCNet(LGCNetConfig())


@pytest.fixture(scope="module")
def full() -> tuple[ExpectedLatency, float]:
    """Random costs for the whole of LGCNet, and that of uniform parameters."""
    latency = ExpectedLatency(FULL.graph(Deployment((97, 131), 4, 11)), prices(5))
    return latency, float(latency(uniform(FULL.choices())))


def test_83_decisions_are_repaired_the_same_way_each_time_and_no_single_change_is_better(full) -> None:
    latency, uniform = full
    limit = Limit(latency, 0.9 * uniform, "random")
    logits = random_logits(FULL, 3)
    found, again = (most_probable_within(FULL, logits, [limit]) for _ in range(2))
    assert found == again
    assert limit.cost(argmax_choices(logits, FULL.choices()), FULL.choices()) > limit.most >= limit.cost(found, FULL.choices())
    reached = log_probability(logits, FULL.choices(), found)
    for choice in FULL.choices()[::3]:
        for option in choice.options:
            changed = {**found, choice.name: option}
            if log_probability(logits, FULL.choices(), changed) > reached + 1e-9:
                assert limit.cost(changed, FULL.choices()) > limit.most


def test_an_argmax_within_the_limits_is_left_as_it_is(full) -> None:
    latency, uniform = full
    logits = random_logits(FULL, 0)
    derivation = derive_within(FULL, {"default": logits}, [Limit(latency, 10 * uniform, "random")])["default"]
    assert derivation == FULL.derive({"default": logits})["default"]
    assert derive_within(FULL, {"default": logits}, [])["default"] == derivation


def test_repairs_name_each_decision_that_is_not_the_most_probable() -> None:
    space, graph = small_space(0)
    latency = ExpectedLatency(graph, prices(1))
    logits = random_logits(space, 4)
    likeliest = argmax_choices(logits, space.choices())
    most = 0.7 * Limit(latency, 1, "t").cost(likeliest, space.choices())
    derivation = derive_within(space, {"default": logits}, [Limit(latency, most, "some/table")])["default"]
    changed = [name for name, option in derivation.choices.items() if option != likeliest[name]]
    assert [repair.split(":")[0] for repair in derivation.repairs] == changed != []
    assert all(f"for at most {most:g} ms on some/table" in repair for repair in derivation.repairs)


def test_a_limit_equal_to_the_cost_of_an_architecture_is_met_by_it() -> None:
    space, graph = small_space(2)
    latency = ExpectedLatency(graph, prices(1))
    costs = [Limit(latency, 1, "t").cost(decided, space.choices()) for decided in all_architectures(space)]
    found = most_probable_within(space, random_logits(space, 1), [Limit(latency, min(costs), "t")])
    assert Limit(latency, 1, "t").cost(found, space.choices()) == min(costs)


def test_what_only_the_check_of_a_space_refuses_is_passed_over() -> None:
    free = RandomSpace(3)
    latency = ExpectedLatency(free.open, prices(1))
    logits = random_logits(free, 0)
    costs = sorted(Limit(latency, 1, "t").cost(decided, free.choices()) for decided in all_architectures(free))
    limit = Limit(latency, costs[len(costs) // 2], "t")
    first = most_probable_within(free, logits, [limit])
    strict = RandomSpace(3, forbidden=tuple(first.items()))
    second = most_probable_within(strict, logits, [limit])
    others = [
        log_probability(logits, free.choices(), decided)
        for decided in all_architectures(strict)
        if limit.cost(decided, free.choices()) <= limit.most
    ]
    assert second != first
    assert log_probability(logits, free.choices(), second) == pytest.approx(max(others), abs=1e-9)


def test_a_limit_out_of_reach_states_the_least_and_that_number_can_be_reached() -> None:
    space, graph = small_space(0)
    latency = ExpectedLatency(graph, prices(1))
    with pytest.raises(UnreachableError, match=r"target_ms: got 0.01 ms on some/table, the least reachable is (\S+) ms") as refused:
        check_reachable(space, [Limit(latency, 0.01, "some/table")])
    stated = float(str(refused.value).split("reachable is ")[1].split()[0])
    check_reachable(space, [Limit(latency, stated, "some/table")])
    assert stated == pytest.approx(refused.value.least[0], abs=1e-4)
    assert isinstance(refused.value, ConfigError)


def test_a_negative_cost_is_refused() -> None:
    space, graph = small_space(0)
    with pytest.raises(ValueError, match="got cost -1"):
        most_probable_within(space, random_logits(space, 0), [Limit(ExpectedLatency(graph, lambda _: -1.0), -1e9, "t")])


def test_a_space_that_derives_other_decisions_is_refused() -> None:
    space = Toy(SimpleNamespace(name="toy"))
    graph = space.graph(Deployment((32, 32), 8, 2))
    logits = random_logits(space, 0)
    with pytest.raises(ConfigError, match="space toy derives other decisions than it searches"):
        derive_within(space, dict.fromkeys(space.architecture_sets, logits), [Limit(ExpectedLatency(graph, prices(0)), 1, "t")])


def test_what_the_solver_prints_is_no_result(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    import scipy.optimize

    def milp(*arguments, **settings):
        os.write(1, b"of the solver\n")
        return solve(*arguments, **settings)

    solve = scipy.optimize.milp
    monkeypatch.setattr(scipy.optimize, "milp", milp)
    space, graph = small_space(2)
    latency = ExpectedLatency(graph, lambda _: 1.0)
    most_probable_within(space, random_logits(space, 1), [Limit(latency, 1e9, "t")])
    out, err = capfd.readouterr()
    assert "of the solver" not in out + err
