"""The genotype of a training: the architecture as it was given, for the images and classes that it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nas.runs.known_classes import TRAINED_CLASSES
from nas.runs.provenance import TABLE_FACTS
from nas.space.genotype import Genotype

TRAINED_ON = "trained_on"
"""Key of the name of the training's data set in provenance; `data` is that of the search."""
SEARCHED_FOR = "searched_for"
"""Key in provenance of what the search optimised, where that is another deployment than the one trained: its deployment, table,
latency and target."""


def trained_genotype(genotype: Genotype, *, size: tuple[int, int], classes: Sequence[str], data: str) -> Genotype:
    """What a training states in its folder.

    `deploy` is that of the network trained. Expected and target latencies are of the network of the search: they stay where the
    two are the same, and are kept under `provenance.searched_for`, beside the search's deployment, where they are not.

    Args:
        genotype: The architecture as it was given.
        size: (height, width) in pixels of the images that the training validates on.
        classes: Names of the classes trained.
        data: Name of the data set.
    """
    deploy = replace(genotype.deploy, input=size, num_classes=len(classes))
    provenance = dict(genotype.provenance)
    facts = {key: provenance[key] for key in provenance if key.startswith(TABLE_FACTS)}
    if deploy != genotype.deploy and any(value is not None for value in facts.values()):
        searched = {"input": list(genotype.deploy.input), "num_classes": genotype.deploy.num_classes}
        provenance = {key: value for key, value in provenance.items() if key not in facts}
        provenance[SEARCHED_FOR] = {**searched, **facts}
    stated = {TRAINED_ON: data, TRAINED_CLASSES: list(classes)}
    return replace(genotype, deploy=deploy, provenance={**provenance, **stated})
