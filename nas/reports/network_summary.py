"""Parts of a genotype or a search space, in lines for the terminal: parameters, MACs and ms of each part, and a picture."""

from __future__ import annotations

import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from nas.config.jobs import ShowJob
from nas.cost import resolve_table
from nas.cost.energy import network_energy
from nas.cost.frame_rate import cost_in_words
from nas.cost.genotype_latency import predict
from nas.cost.prediction import share
from nas.errors import ConfigError
from nas.files.atomic import write_bytes_atomic
from nas.network.network import Network
from nas.ops import build, macs
from nas.reports.picture_bytes import figure_bytes
from nas.reports.plots import draw_genotype, draw_space
from nas.reports.text_table import text_table
from nas.space.design import Design
from nas.space.genotype import Genotype
from nas.space.graph import Graph
from nas.space.search_space import SearchSpace, open_choices
from nas.space.space_entry import SpaceEntry

DEFAULT_INPUT = (360, 480)
"""(height, width) at which a space is shown unless `deploy.input` says otherwise: the images of CamVid, halved."""
DEFAULT_CLASSES = 11
"""Classes for which a space is shown unless `num_classes` says otherwise: those of CamVid."""
_DPI = 110
_BAR = 30


def design_summary(job: ShowJob, design: Design, picture: Path | None, *, source: str) -> tuple[str, ...]:
    """Lines of `nas show genotype=` of the design from a source; draws the network where a picture is asked for.

    Raises:
        UserError: If the table cannot be used, or the picture cannot be written.
    """
    genotype, graph = design.genotype, design.graph
    table = resolve_table(job.latency.table)
    latency = None if table is None else predict(design, table, given=job.latency.table)
    costs = None if latency is None else latency.by_part
    energy = None if table is None else network_energy(graph, table)
    unit = "" if table is None else table.unit
    if picture is not None:
        parts_ms = costs if unit == "ms" else None
        _save(lambda: draw_genotype(genotype, graph.deployed(), parts_ms=parts_ms), picture)
    weights, work = count_parameters(graph.deployed()), count_macs(graph)
    rest = sum(count_parameters(graph).values()) - sum(weights.values())
    auxiliary = f" and {rest:,} of auxiliary heads" if rest else ""
    idle = count_idle(graph)
    height, width = genotype.deploy.input
    decisions = f"{len(genotype.choices)} decisions" if genotype.choices else "hand-made"
    lines = [
        f"genotype {source}: {genotype.space}, {decisions}, input {height}x{width}, "
        f"{genotype.deploy.init_channels} initial channels, {genotype.deploy.num_classes} classes",
        f"{sum(weights.values()):,} parameters{auxiliary}, {sum(work.values()) / 1e9:.3f} GMACs for one image"
        + ("" if table is None or latency is None else f", {cost_in_words(latency, unit, table.identifier)}"),
        *([] if energy is None else [energy.line()]),
        *([f"beside these {idle:,} parameters that nothing runs, as the published checkpoints have them"] if idle else []),
        "",
        *_parts_table(weights, work, costs, unit),
        *_histogram(genotype),
        *_provenance(genotype),
    ]
    return tuple(lines)


def space_summary(job: ShowJob, spaces: Mapping[str, SpaceEntry], picture: Path | None) -> tuple[str, ...]:
    """Lines of `nas show space=`; draws the supernet where a picture is asked for.

    Raises:
        ConfigError: If the space is unknown, or the picture cannot be written.
    """
    name = str(getattr(job.space, "name", None))
    if name not in spaces or not isinstance(job.space, spaces[name].config):
        raise ConfigError(f"space.name: got {name!r}, expected one of {', '.join(spaces)}; choose it with space=NAME")
    space = spaces[name].build(job.space)
    deployment = job.deploy.deployment(space, job.num_classes or DEFAULT_CLASSES, size=DEFAULT_INPUT)
    (height, width), channels = deployment.input, deployment.init_channels
    graph = space.graph(deployment)
    if picture is not None:
        _save(lambda: draw_space(graph, title=name), picture)
    weights = count_parameters(graph, architecture_sets=space.architecture_sets)
    decisions = space.genotype_choices()
    lines = [
        f"space {name} at input {height}x{width}, {channels} initial channels, {deployment.num_classes} classes",
        f"{len(decisions)} decisions, 10^{log10_architectures(space):.1f} combinations of options",
        f"supernet: {sum(weights.values()):,} weights, {_architecture_parameters(space):,} architecture parameters",
        f"{len(space.plan(deployment))} distinct operations to profile at this shape",
        "",
        *_option_lines(decisions),
        "",
        *text_table(["part", "weights"], [[part, f"{count:,}"] for part, count in weights.items()]),
    ]
    return tuple(lines)


def count_parameters(graph: Graph, *, architecture_sets: tuple[str, ...] = ("default",)) -> dict[str, int]:
    """Weights of a network by part, without what is idle; modules that run in several places count where they run first."""
    with torch.device("meta"):
        network = Network(graph, architecture_sets=architecture_sets)
    counts: dict[str, int] = defaultdict(int)
    seen: set[str] = set()
    for node in graph.nodes:
        if node.role != "input" and node.module not in seen:
            seen.add(node.module)
            counts[node.part] += sum(weight.numel() for weight in network.get_submodule(node.module).parameters())
    return dict(counts)


def count_idle(graph: Graph) -> int:
    """Weights that a network holds and never runs."""
    with torch.device("meta"):
        return sum(weight.numel() for spec in graph.idle.values() for weight in build(spec).parameters())


def count_macs(graph: Graph) -> dict[str, int]:
    """Multiply-accumulates of a derived network for one image, by part."""
    counts: dict[str, int] = defaultdict(int)
    for part, spec in graph.operations():
        counts[part] += macs(spec)
    return dict(counts)


def log10_architectures(space: SearchSpace) -> float:
    """log10 of the number of combinations of options of a derived network."""
    return sum(math.log10(len(options)) for options in space.genotype_choices().values())


def _parts_table(weights: Mapping[str, int], work: Mapping[str, int], costs: Mapping[str, float] | None, unit: str) -> list[str]:
    """Parameters, MACs and, where there is a table, cost of each part, with the totals."""
    rows = [[part, f"{weights.get(part, 0):,}", f"{count / 1e6:.2f}"] for part, count in work.items()]
    rows.append(["total", f"{sum(weights.values()):,}", f"{sum(work.values()) / 1e6:.2f}"])
    if costs is None:
        return text_table(["part", "parameters", "MMACs"], rows)
    total = sum(costs.values())
    values = [*(costs.get(part, 0.0) for part in work), total]
    rows = [[*row, f"{value:.3f}", f"{share(value, total):.1%}"] for row, value in zip(rows, values, strict=True)]
    return text_table(["part", "parameters", "MMACs", unit, "share"], rows)


def _histogram(genotype: Genotype) -> list[str]:
    """Number of times that each option was chosen, with a bar."""
    counts = Counter(genotype.choices.values()).most_common()
    if not counts:
        return []
    name_width = max(len("option"), *(len(name) for name, _ in counts))
    largest = counts[0][1]
    bars = [f"{name:{name_width}}  {count:>9}  {'#' * math.ceil(_BAR * count / largest)}" for name, count in counts]
    return ["", f"{'option':{name_width}}  {'decisions':>9}", *bars]


def _provenance(genotype: Genotype) -> list[str]:
    """A line for each fact, those of a group below its name."""
    facts = {key: value for key, value in genotype.provenance.items() if value is not None}
    return ["", "provenance", *_fact_lines(facts, indent="  ")] if facts else []


def _fact_lines(facts: Mapping[str, Any], *, indent: str) -> Iterator[str]:
    width = max(map(len, facts), default=0)
    for key, value in facts.items():
        if isinstance(value, Mapping):
            yield f"{indent}{key}"
            yield from _fact_lines(value, indent=f"{indent}  ")
        else:
            yield f"{indent}{key:{width}}  {', '.join(map(str, value)) if isinstance(value, list) else value}"


def _option_lines(decisions: Mapping[str, Sequence[str]]) -> list[str]:
    """A line for each distinct list of options."""
    counts = Counter(tuple(options) for options in decisions.values())
    return [f"{count} decisions between {len(options)}: {', '.join(options)}" for options, count in counts.items()]


def _architecture_parameters(space: SearchSpace) -> int:
    """Logits of all architecture sets, and the weights of the communication between them."""
    communication = space.communication()
    logits = sum(len(choice.options) for name in space.architecture_sets for choice in open_choices(space, name))
    guided = 0 if communication is None else sum(weight.numel() for weight in communication.parameters())
    return logits + len(space.architecture_sets) * guided


def _save(draw: Callable[[], Figure], path: Path) -> None:
    """Write a picture, in a format that the suffix names."""
    try:
        content = figure_bytes(draw(), dpi=_DPI, file_format=path.suffix.lower().removeprefix("."))
        # A link that the user gives stays one; for links in a circle pathlib raises something else than an OSError.
        write_bytes_atomic(Path(os.path.realpath(path)), content)  # noqa: PTH118
    except OSError as error:
        raise ConfigError(f"out: {path} cannot be written ({error.strerror}); give another out=") from error
