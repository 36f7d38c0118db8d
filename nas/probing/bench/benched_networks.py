"""Networks that are timed side by side: genotypes and ONNX files, each at a size of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from nas.config.bench_networks_job import BenchNetworksJob
from nas.errors import ConfigError, GenotypeError
from nas.exporting.onnx_counts import count_onnx_macs, count_onnx_parameters
from nas.exporting.onnx_file import FixedGraph, OnnxFile, is_onnx, read_onnx
from nas.measuring.example_operations import example_network
from nas.measuring.memory.map_lifetimes import Memory
from nas.measuring.memory.network_memory import memory_of
from nas.measuring.memory.onnx_memory import onnx_memory
from nas.measuring.operation_graphs import OperationFile
from nas.measuring.runners.runner import SizedGraph, SizedNetwork, Timeable
from nas.network.build import build_network
from nas.reports.network_summary import count_macs, count_parameters
from nas.space.design import Design, load_design
from nas.space.search_space import SpaceEntry

if TYPE_CHECKING:
    from onnx import ModelProto

GENOTYPE, ONNX = "genotype", "onnx"
"""Kinds of networks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchedNetwork:
    """A network at a size.

    Args:
        name: What the user called it.
        kind: `GENOTYPE` or `ONNX`.
        size: (height, width) of its images in pixels.
        parameters: Number of those that run.
        macs: Multiply-accumulates for one image; None: they do not follow from the file.
        memory: What it needs for one image, a genotype in fp32, an ONNX file in its own types; None: that does not follow.
        output: What it ends with: `labels`, or of an ONNX file element type and shape.
        timeable: What a runner times.
        design: Its architecture; None: it is an ONNX file.
    """

    name: str
    kind: str
    size: tuple[int, int]
    parameters: int
    macs: int | None
    memory: Memory | None
    output: str
    timeable: Timeable
    design: Design | None


def load_networks(names: list[str], spaces: Mapping[str, SpaceEntry]) -> dict[str, Design | OnnxFile]:
    """Name -> genotype or ONNX file.

    Raises:
        UserError: If there is none, or it cannot be used.
    """
    return {name: read_onnx(name) if is_onnx(name) else load_design(name, spaces) for name in names}


def sizes_of(network: Design | OnnxFile, job: BenchNetworksJob, name: str) -> list[tuple[int, int]]:
    """The sizes at which a network is timed: those of the job, or its own.

    Raises:
        ConfigError: If none is given, and the file leaves it free.
    """
    if job.bench.sizes is not None:
        return [(height, width) for height, width in job.bench.sizes]
    own = network.deployment.input if isinstance(network, Design) else network.size
    if own is None:
        raise ConfigError(f"bench.sizes: got null, and {name} takes images of any size; give e.g. bench.sizes=[[360,480]]")
    return [own]


def at_size(network: Design | OnnxFile, size: tuple[int, int], job: BenchNetworksJob, *, name: str, batch: int) -> BenchedNetwork:
    """A network at a size.

    Args:
        network: The genotype or the ONNX file.
        size: (height, width) of the images in pixels.
        job: Classes and seed.
        name: What the user called it.
        batch: Images at once; an ONNX file may have it fixed.

    Raises:
        ConfigError: If it does not take the size.
    """
    if isinstance(network, OnnxFile):
        return _onnx_at(network.at(size, batch=batch), size, name=name, batch=batch)
    shape = replace(network.deployment, input=size, num_classes=job.num_classes or network.deployment.num_classes)
    design = network.deployed(shape)
    try:
        graph = design.graph
    except (GenotypeError, ValueError) as error:
        raise ConfigError(f"networks: {name} at {size[0]}x{size[1]}: {error}; give other bench.sizes, or leave it out") from error
    return BenchedNetwork(
        name=name,
        kind=GENOTYPE,
        size=size,
        parameters=sum(count_parameters(graph.deployed()).values()),
        macs=sum(count_macs(graph).values()),
        memory=memory_of(graph),
        output="labels",
        timeable=SizedNetwork(partial(example_network, partial(build_network, design), size=size, seed=job.seed), size),
        design=design,
    )


def _onnx_memory(model: ModelProto, *, batch: int) -> Memory | None:
    from onnx.shape_inference import InferenceError

    try:
        memory = onnx_memory(model)
    except (ConfigError, InferenceError):
        return None
    return replace(memory, activations=memory.activations // batch, body=memory.body // batch)


def _onnx_at(graph: FixedGraph, size: tuple[int, int], *, name: str, batch: int) -> BenchedNetwork:
    file = OperationFile(
        content=graph.model.SerializeToString(),
        suffix=".onnx",
        inputs=((graph.input_name, graph.input_shape),),
        output=graph.output_shape,
        output_type=graph.output_type,
    )
    macs = count_onnx_macs(graph.model)
    return BenchedNetwork(
        name=name,
        kind=ONNX,
        size=size,
        parameters=count_onnx_parameters(graph.model),
        macs=None if macs is None else macs // batch,
        memory=_onnx_memory(graph.model, batch=batch),
        output=f"{graph.output_type} {'x'.join(map(str, graph.output_shape))}",
        timeable=SizedGraph(f"{name} at {size[0]}x{size[1]}", lambda: file),
        design=None,
    )
