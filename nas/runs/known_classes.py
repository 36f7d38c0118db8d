"""The classes of a trained network, from the run that it lies in or the genotype."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nas.data import DATASETS, config_from_plain, data_classes
from nas.data.classes.class_set import ClassSet
from nas.errors import UserError
from nas.runs import rundir
from nas.space.genotype import Genotype


def known_classes(genotype: Genotype, weights: Path, num_classes: int) -> tuple[ClassSet | None, str]:
    """The classes of the data set that the weights, or else the genotype, come from, and where that is stated; None: not known."""
    reasons = []
    for origin, settings in _known_settings(genotype, weights):
        try:
            classes = data_classes(config_from_plain(settings))
        except UserError as error:
            reasons.append(str(error))
            continue
        if len(classes.names) == num_classes:
            return classes, f"{origin}, data={settings['name']}"
    return None, "; ".join(["numbered, for no data set of this network is known", *reasons])


def _known_settings(genotype: Genotype, weights: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The settings of data sets that may be the network's, with where they are stated."""
    config = weights.parent / rundir.CONFIG
    if config.is_file():
        settings = rundir.load_config(config).get("data")
        if isinstance(settings, Mapping):
            yield str(config), settings
            return  # the training's data count, not those of the search before it
    name = genotype.provenance.get("data")
    if name in DATASETS:
        yield "the genotype's provenance", {"name": name}
