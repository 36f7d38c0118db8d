"""What to do after networks were timed side by side: measure the mIoU of one that has none of its own, or export the best."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nas.data.data_words import OPEN_DATA, data_words, split_words
from nas.errors import UserError
from nas.exporting.onnx_file import is_onnx
from nas.files.command_words import setting
from nas.probing.bench.network_times import TimedNetwork
from nas.runs.run_data import data_of, run_of
from nas.runs.rundir import WEIGHTS


def next_lines(rows: Sequence[TimedNetwork]) -> list[str]:
    """The next command: it evaluates a network, trains one, or exports the most accurate; none if there is nothing to do.

    Networks with weights are evaluated before one without is trained, the fastest first. It is trained on the data of the most
    accurate run beside it, so that their mIoU are comparable.

    Args:
        rows: The networks.
    """
    names = dict.fromkeys(row.network.name for row in sorted(rows, key=lambda row: row.ms))
    measured = {row.network.name: row.accuracy.miou for row in rows if row.accuracy is not None and not row.accuracy.is_published}
    runs = sorted((name for name in measured if not is_onnx(name)), key=measured.__getitem__, reverse=True)
    if open_names := sorted((name for name in names if name not in measured), key=_has_no_weights):
        words = _evaluated(open_names[0], beside=runs)
        return [f"next{', on your data' if OPEN_DATA in words else ''}: nas {' '.join(words)}"]
    return [f"next: nas export {setting('run', runs[0])}"] if runs else []


def _has_no_weights(name: str) -> bool:
    return not (is_onnx(name) or (Path(name) / WEIGHTS).is_file())


def _evaluated(name: str, *, beside: Sequence[str]) -> list[str]:
    """The command that leads to an mIoU, on the data that the run states or, of a network to train, one beside it."""
    if is_onnx(name):
        config = _data_of(run_of(Path(name)))
        return ["eval", setting("onnx", name), *([OPEN_DATA] if config is None else split_words(config))]
    if not _has_no_weights(name):
        config = _data_of(Path(name))
        return ["eval", setting("run", name), *([] if config is None else split_words(config))]
    config = next((found for run in (name, *beside) if (found := _data_of(Path(run))) is not None), None)
    return ["train", setting("genotype", name), *([OPEN_DATA] if config is None else data_words(config))]


def _data_of(run: Path) -> Any:  # noqa: ANN401 - the config of any data set, or None
    try:
        return data_of(run)
    except UserError:  # it is the folder of no run that states data with labels of pixels
        return None
