"""mIoU of the networks of a bench: as `nas eval` measured it in a run, or as it was published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.errors import ConfigError, GenotypeError
from nas.exporting.onnx_file import is_onnx
from nas.files.file_digest import file_digest
from nas.files.shortening import shorten
from nas.probing.bench.benched_networks import BenchedNetwork
from nas.runs.run_json import read_evaluation
from nas.runs.rundir import WEIGHTS
from nas.runs.trained_genotype import TRAINED_ON

PUBLISHED = "published"
"""Key in the provenance of a genotype: figures that its authors or others published, mIoU by data and split in percent."""
SPLITS = ("_val", "_test")
"""Ends of the names of published mIoU."""
EVALUATION = "eval.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """The mIoU of a network.

    Args:
        miou: As a share.
        kind: What it is of, e.g. `measured: test of camvid at 360x480`.
        is_published: Whether it was published; else it was measured here.
    """

    miou: float
    kind: str
    is_published: bool


def accuracies(networks: Sequence[BenchedNetwork], folders: Sequence[str] = ()) -> dict[str, Accuracy]:
    """Name -> mIoU of each network that has one: measured where an evaluation says so, else published.

    Published figures are of one data set and split, that which most of these networks have: figures of several do not compare.

    Args:
        networks: The networks; one may occur at several sizes.
        folders: Folders of evaluations beside those of the runs.

    Raises:
        UserError: If an evaluation is none or of no network here, or a published figure is none.
    """
    names = {network.name: network for network in networks}
    found = {name: measured for name in names if (measured := _in_run(name)) is not None}
    found |= _by_digest(names, folders)
    figures = {name: _published(network) for name, network in names.items() if name not in found}
    counts = Counter(key for own in figures.values() for key in own)
    if counts:
        common = max(sorted(counts, key=lambda key: not key.endswith(SPLITS[0])), key=counts.__getitem__)
        kind = f"published: {common.replace('_', ' ')}"
        found |= {
            name: Accuracy(miou=own[common] / 100, kind=kind, is_published=True) for name, own in figures.items() if common in own
        }
    return found


def _in_run(name: str) -> Accuracy | None:
    """From the evaluation in the folder of a run."""
    evaluation = read_evaluation(Path(name) / EVALUATION)
    return None if evaluation is None or evaluation.get("miou") is None else _measured(evaluation)


def _by_digest(names: Iterable[str], folders: Sequence[str]) -> dict[str, Accuracy]:
    """From evaluations of the very weights or file of a network."""
    if not folders:
        return {}
    files = {name: Path(name) if is_onnx(name) else Path(name) / WEIGHTS for name in names}
    digests = {name: file_digest(file) for name, file in files.items() if file.is_file()}
    found: dict[str, Accuracy] = {}
    for folder in folders:
        evaluation = read_evaluation(Path(folder) / EVALUATION)
        if evaluation is None or evaluation.get("miou") is None:
            raise ConfigError(f"bench.evaluations: {folder} has no {EVALUATION} with an mIoU; give folders that nas eval wrote")
        own = [name for name, digest in digests.items() if digest == evaluation.get("weights_sha256")]
        if not own:
            of = evaluation.get("weights")
            raise ConfigError(f"bench.evaluations: {folder} is of {of}, which is none of the networks here; leave it out")
        found |= {name: _measured(evaluation) for name in own}
    return found


def _measured(evaluation: Mapping[str, Any]) -> Accuracy:
    size = evaluation.get("size")
    at = "" if size is None else f" at {size[0]}x{size[1]}"
    kind = f"measured: {evaluation.get('split')} of {evaluation.get('data')}{at}"
    return Accuracy(miou=float(evaluation["miou"]), kind=kind, is_published=False)


def _published(network: BenchedNetwork) -> dict[str, float]:
    """Data and split -> mIoU in percent; none of a training, whose weights are others than those published."""
    stated: Mapping[str, Any] = {} if network.design is None else network.design.genotype.provenance
    figures: Any = {} if TRAINED_ON in stated else stated.get(PUBLISHED, {})
    if not isinstance(figures, Mapping):
        raise GenotypeError(f"{network.name}: provenance.{PUBLISHED}: got {shorten(figures)}, expected names and numbers")
    found = {}
    for key, value in figures.items():
        if str(key).endswith(SPLITS) and value is not None:
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 100:
                raise GenotypeError(
                    f"{network.name}: provenance.{PUBLISHED}.{key}: got {shorten(value)}, expected mIoU in percent, 0 to 100"
                )
            found[str(key)] = float(value)
    return found
