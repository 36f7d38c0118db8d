"""What a run is made of beside its settings: the content of files, as digests that a checkpoint keeps and a resume compares."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nas.errors import ConfigError
from nas.files.file_digest import file_digest
from nas.ops import OpSpec

log = logging.getLogger("nas")

PARTS = "weights.safetensors", "genotype.yaml"
"""Files of a teacher's folder that make its network."""
_NUM_CLASSES = "number of classes"
"""The input that no resume can go on without: the network has an output for each class."""


@dataclass(frozen=True, slots=True)
class RunInputs:
    """The inputs of a run.

    Args:
        digests: What an input is called -> digest of it.
        accept_changes: Whether a resume may go on with other ones than the run was started with.
    """

    digests: Mapping[str, str]
    accept_changes: bool = False

    def check(self, before: object) -> None:
        """Compare the inputs with those that a checkpoint states; checkpoints of versions before state none.

        Args:
            before: As the checkpoint has it; None: it states none.

        Raises:
            ConfigError: Naming what differs, unless changes are accepted; then a warning does. The number of classes is never
                accepted.
            ValueError: If the checkpoint states something else.
        """
        if before is None:
            log.info("resume: the checkpoint does not state its inputs, so that nobody knows whether they are still the same")
            return
        if not isinstance(before, dict) or not all(isinstance(one, str) for pair in before.items() for one in pair):
            raise ValueError("inputs: got something else than digests by name")
        differ = [what for what in {**before, **self.digests} if before.get(what) != self.digests.get(what)]
        if _NUM_CLASSES not in before and _NUM_CLASSES in differ:  # checkpoints of versions before
            differ.remove(_NUM_CLASSES)
        if _NUM_CLASSES in differ:
            raise ConfigError(
                f"resume: another {_NUM_CLASSES} than when the run was started, which its network cannot take; put the classes "
                "back, or start from scratch in another folder, without resume"
            )
        if differ and not self.accept_changes:
            raise ConfigError(
                f"resume: other {', '.join(differ)} than when the run was started; put them back, go on with those of now by "
                "accept_changes=true, or start from scratch without resume"
            )
        if differ:
            log.warning("resume: goes on with other %s than when the run was started", ", ".join(differ))


class Costs(Protocol):
    """The interface of a table to its digest."""

    def cost(self, spec: OpSpec) -> float:
        """What an operation costs."""


class Images(Protocol):
    """The interface of a split of a data set to its digest."""

    @property
    def classes(self) -> Sequence[str]:
        """Name of each class id."""

    def __len__(self) -> int:
        """Number of images."""

    def name(self, index: int) -> str:
        """Name of an image."""


def data_inputs(train_set: Images, val_set: Images) -> dict[str, str]:
    """Digests of the names of the images of both splits, of the classes, in order and as files store them, and of their number."""
    splits = {"training images": train_set, "validation images": val_set}
    lists = {what: _digest([split.name(index) for index in range(len(split))]) for what, split in splits.items()}
    stored = getattr(train_set, "stored_classes", None)  # where labels lie in files
    classes = [*train_set.classes, *([] if stored is None else [sorted(stored.items())])]
    return {**lists, "classes": _digest(classes), _NUM_CLASSES: _digest(len(train_set.classes))}


def table_inputs(tables: Iterable[Costs], specs: Iterable[OpSpec]) -> dict[str, str]:
    """Digests of what the operations of a search cost by each table; further entries of a table may come and go."""
    keyed = sorted({spec.key: spec for spec in specs}.items())
    return {
        f"latency table {number}": _digest([[key, table.cost(spec)] for key, spec in keyed])
        for number, table in enumerate(tables, start=1)
    }


def file_inputs(files: Mapping[str, str | None]) -> dict[str, str]:
    """Digests of files, or of the network in the folder of a training, by what they are; without those that are None."""
    found = {}
    for what, name in files.items():
        if name is not None:
            path = Path(name)
            parts = [path / part for part in PARTS] if path.is_dir() else [path]
            found[what] = _digest([file_digest(part) for part in parts])
    return found


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
