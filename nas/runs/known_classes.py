"""The classes of a trained network: as its training states them, or else as the genotype lets one guess."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.data import DATASETS, config_from_plain, data_classes
from nas.data.classes.class_set import ClassSet, class_set, distinct_colours
from nas.errors import UserError
from nas.files.plain_yaml import parse_plain_yaml
from nas.files.regular_file import read_regular
from nas.runs import run_config
from nas.runs.run_data import run_of
from nas.space.genotype import FILE_NAME, Genotype

TRAINED_CLASSES = "classes"
"""Key of the names of the classes in the provenance of a training's genotype."""


@dataclass(frozen=True, slots=True)
class KnownClasses:
    """Classes of a trained network.

    Args:
        classes: Names and colours; None: not known.
        origin: Where they are stated, or why they are not known.
        sure: Whether the training states them; otherwise they are those of the search's data.
    """

    classes: ClassSet | None
    origin: str
    sure: bool = False


def known_classes(genotype: Genotype, weights: Path, num_classes: int) -> KnownClasses:
    """The classes of the training whose folder the weights lie in, or else those that the genotype states.

    A training states the names in `provenance` of its genotype.yaml, so that they outlive the data set's own file of classes.
    Trainings of before did not: theirs are the classes of the data set in `config.yaml`.
    """
    folder = run_of(weights)
    reasons: list[str] = []
    settings = _settings(folder)
    for origin, provenance in _provenances(genotype, folder, alone=settings is None):
        names = _names(provenance)
        if names is not None and len(names) == num_classes:
            return KnownClasses(_coloured(names, settings), origin, sure=True)
    if settings is not None:
        known = _of_data(settings, num_classes, reasons)
        if known is not None:
            return KnownClasses(known, f"{folder / run_config.CONFIG}, data={settings['name']}", sure=True)
        return KnownClasses(None, _unknown(reasons))
    name = genotype.provenance.get("data")
    if name in DATASETS:
        known = _of_data({"name": name}, num_classes, reasons)
        if known is not None:
            return KnownClasses(known, f"the genotype's provenance, data={name}")
    return KnownClasses(None, _unknown(reasons))


def other_names(known: KnownClasses, names: Sequence[str]) -> str:
    """In words, how classes of other data differ from those of the network, which are known.

    >>> other_names(KnownClasses(class_set(["sky", "car"], [(0, 0, 0), (9, 9, 9)]), "run/genotype.yaml"), ["sky", "bus"])
    "whose class 1 is 'bus', expected 'car' as the network was trained on (run/genotype.yaml)"
    """
    assert known.classes is not None
    pairs = zip(known.classes.names, names, strict=True)
    number, (ours, theirs) = next((number, pair) for number, pair in enumerate(pairs) if pair[0] != pair[1])
    return f"whose class {number} is {theirs!r}, expected {ours!r} as the network was trained on ({known.origin})"


def _provenances(genotype: Genotype, folder: Path, *, alone: bool) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Provenances that may state the classes: of the genotype in the folder of the weights; if it is no run, of the one given."""
    file = folder / FILE_NAME
    try:
        content = parse_plain_yaml(read_regular(file).decode("utf-8-sig")).data
    except (OSError, ValueError):  # who needs the file itself, says what is wrong with it
        content = None
    provenance = content.get("provenance") if isinstance(content, dict) else None
    if isinstance(provenance, Mapping):
        yield str(file), provenance
    if alone:
        yield "the genotype's provenance", genotype.provenance


def _names(provenance: Mapping[str, Any]) -> list[str] | None:
    names = provenance.get(TRAINED_CLASSES)
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def _settings(folder: Path) -> Mapping[str, Any] | None:
    """The settings of the data set in the `config.yaml` of a folder; None: there are none."""
    if not (folder / run_config.CONFIG).is_file():
        return None
    settings = run_config.load_config(folder).get("data")
    return settings if isinstance(settings, Mapping) else None


def _of_data(settings: Mapping[str, Any], num_classes: int, reasons: list[str]) -> ClassSet | None:
    """The classes of a data set if it has so many; a reason is added where its file of classes cannot be read."""
    try:
        classes = data_classes(config_from_plain(settings))
    except UserError as error:
        reasons.append(str(error))
        return None
    return classes if len(classes.names) == num_classes else None


def _coloured(names: Sequence[str], settings: Mapping[str, Any] | None) -> ClassSet:
    """Classes in the colours of their data set, where that still has them."""
    classes = None if settings is None else _of_data(settings, len(names), [])
    if classes is not None and classes.names == tuple(names):
        return classes
    return class_set(names, distinct_colours(len(names)))


def _unknown(reasons: Sequence[str]) -> str:
    return "; ".join(["numbered, for no data set of this network is known", *reasons])
