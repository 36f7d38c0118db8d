"""Differentiable neural architecture search for real-time semantic segmentation.

The public functions. Each imports what it needs when it is called, so `import nas` is fast.

>>> import nas
>>> "lgcnet" in nas.list_spaces()
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nas.space.former_names import find_former_names

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

    from nas.config.jobs import SearchJob, TrainJob
    from nas.cost import LatencyTable
    from nas.cost.prediction import Latency
    from nas.probing.plan_report import PlanReport
    from nas.space.benchmark import Benchmark
    from nas.space.genotype import Genotype
    from nas.space.search_space import SearchSpace
    from nas.stages.search import SearchResult
    from nas.stages.train import TrainResult

__version__ = "0.1.0"
__all__ = [
    "build",
    "build_space",
    "import_weights",
    "list_genotypes",
    "list_spaces",
    "load_benchmark",
    "load_genotype",
    "load_table",
    "measure",
    "plan",
    "predict",
    "search",
    "train",
]

find_former_names()


def load_genotype(path_or_name: str | Path) -> Genotype:
    """A genotype from a file, a run's folder, or the name of a published one.

    Raises:
        GenotypeError: Naming what is missing or wrong.
    """
    from nas.devices.path_settings import in_home
    from nas.space.design import load_design
    from search_spaces import all_spaces

    return load_design(in_home(str(path_or_name)), all_spaces()).genotype


def build(genotype: Genotype | str | Path, num_classes: int | None = None) -> torch.nn.Module:
    """The network of a genotype: images [N, 3, H, W] float32 -> logits [N, classes, H, W], for any H and W.

    Args:
        genotype: The architecture, or what `load_genotype` takes: a file, a run or a published name.
        num_classes: Number of classes; None: the genotype's.
    """
    from nas.devices.path_settings import in_home
    from nas.network.build import build_network
    from nas.space.design import design_of, load_design
    from nas.space.genotype import Genotype
    from search_spaces import all_spaces

    spaces = all_spaces()
    design = design_of(genotype, spaces) if isinstance(genotype, Genotype) else load_design(in_home(str(genotype)), spaces)
    return build_network(design, num_classes)


def measure(
    genotypes: Mapping[str, Genotype],
    *,
    runtime: str = "torch-eager",
    accelerator: str = "cpu",
    rounds: int = 30,
    level: LatencyTable | None = None,
) -> dict[str, float]:
    """Median ms of each network from image tensor to label map at its deployed size, timed side by side on this machine.

    Args:
        genotypes: Name -> architecture.
        runtime: A runtime's name; a backend alone means fp32, one image, one thread.
        accelerator: `cpu` or `cuda`.
        rounds: Interleaved rounds; a network is timed twice a round.
        level: Bring the times to the speed that the machine had when this table was measured, by its reference operation; None:
            as they are now.

    Raises:
        ConfigError: If the runtime is not there.
    """
    from nas.space.design import design_of
    from nas.stages.compare_networks import measure as measure_networks
    from search_spaces import all_spaces

    spaces = all_spaces()
    designs = {name: design_of(genotype, spaces) for name, genotype in genotypes.items()}
    return measure_networks(designs, runtime=runtime, accelerator=accelerator, rounds=rounds, level=level)


def import_weights(name: str, state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of an official checkpoint, renamed for `build(load_genotype(name))`.

    Args:
        name: A published genotype, e.g. `squeezenas/lat_small`, or the file of one.
        state_dict: What its authors released.

    Raises:
        CheckpointError: Naming every tensor that is missing, left over or of another shape, up to a few of each.
    """
    from nas.devices.path_settings import in_home
    from nas.network.official_weights import import_official
    from nas.space.design import load_design
    from search_spaces import all_spaces

    return import_official(load_design(in_home(name), all_spaces()), state_dict, source=name)


def load_table(name_or_path: str | Path) -> LatencyTable:
    """A latency table from a file or by its name DEVICE/RUNTIME.

    Raises:
        TableError: If there is none, or it is malformed.
    """
    from nas.cost import load_table as load
    from nas.devices.path_settings import in_home

    return load(in_home(str(name_or_path)))


def load_benchmark(name_or_folder: str | Path) -> Benchmark:
    """A benchmark of search algorithms, every network of a space trained and timed: by its name, or in a folder.

    Raises:
        ConfigError: If there is neither, naming those that ship with the package, or its file is malformed.
    """
    from nas.devices.path_settings import in_home
    from nas.space.benchmark import load_benchmark as load

    return load(in_home(str(name_or_folder)))


def predict(genotype: Genotype, table: LatencyTable) -> Latency:
    """The latency of a genotype's network at its deployed shape, in ms.

    Raises:
        TableError: Listing every operation that the table lacks.
    """
    from nas.cost.genotype_latency import predict as predict_genotype
    from nas.space.design import design_of
    from search_spaces import all_spaces

    return predict_genotype(design_of(genotype, all_spaces()), table)


def list_spaces() -> list[str]:
    """The names of the search spaces."""
    from search_spaces import searched_spaces

    return list(searched_spaces())


def list_genotypes() -> list[str]:
    """The names of the published genotypes."""
    from nas.files.shipped import published_genotypes

    return list(published_genotypes())


def build_space(config: Any) -> SearchSpace:  # noqa: ANN401  the config of any space
    """The search space of a config, chosen by the config's `name`.

    Raises:
        ConfigError: If there is no space of that name, or the config is another space's.
    """
    from nas.space.by_name import build_space as build_by_name
    from search_spaces import all_spaces

    return build_by_name(config, all_spaces())


def space_config(settings: Mapping[str, Any]) -> Any:  # noqa: ANN401  the config of any space
    """The config of a search space from plain data, `name` among them.

    Raises:
        ConfigError: If there is no space of that name.
    """
    from nas.space.by_name import space_config as config_by_name
    from search_spaces import all_spaces

    return config_by_name(settings, all_spaces())


def plan(config: SearchJob) -> PlanReport:
    """Forecast of the needs of a search, as `nas search plan=true` states it.

    Raises:
        UserError: If data, table or settings do not fit.
    """
    from nas.stages.search_plan import plan_search

    return plan_search(config, build_space(config.space))


def search(config: SearchJob) -> SearchResult:
    """Search an architecture, as `nas search` does.

    Raises:
        UserError: If data, table or settings do not fit.
        ResumableError: If it stopped, and not through its input; its checkpoint can be resumed.
        OSError: If a file or folder fails; its `__notes__` say from which step `resume` goes on.
        KeyboardInterrupt: On Ctrl-C or SIGTERM, after a checkpoint was saved.
    """
    from nas.stages.search import search as run

    return run(config, build_space(config.space))


def train(config: TrainJob) -> TrainResult:
    """Train the network of a genotype, as `nas train` does.

    Raises:
        UserError: If genotype, data or settings do not fit.
        ResumableError: If it stopped, and not through its input; its checkpoint can be resumed.
        OSError: If a file or folder fails; its `__notes__` say from which step `resume` goes on.
        KeyboardInterrupt: On Ctrl-C or SIGTERM, after a checkpoint was saved.
    """
    from nas.stages.train import train as run
    from search_spaces import all_spaces

    return run(config, all_spaces())
