"""Commands that read changed files, and what none of them may do about one.

Run as a module it goes on with a log: python -m tests.mutated_files LOG COUNT [SEED].
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
import sys
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from nas.files.shortening import LINE, QUOTED
from nas.runs.rundir import LOCKS
from tests.file_mutations import mutate
from tests.mutated_inputs import QUICK, READERS, Reader, make_inputs
from tests.poised_commands import Ended, PoisedCommands
from tests.text_mutations import MARK, Mutant

SECONDS = 20
"""Processor time of a command."""
MEMORY = 2 << 30
"""Address space of a command beyond what its libraries take, in bytes."""
MOST_LINES = 12
"""Lines on stderr of a command that fails: what it warned of, and why it failed."""
_ENDLESS = re.compile(rf"(?:{MARK}|9|\[){{{QUOTED + 1},}}")
_GROWS = re.compile(r"metrics\.jsonl|checkpoints/|config\.yaml|done\.json|report\.html|eval\.json|export\.json|journal\.jsonl")
"""Files of a run that goes on: status 1 may leave them further than they were."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A command with a changed file.

    Args:
        number: Its number, which with the seed determines it.
        kind: Kind of the file.
        verb: The verb.
        what: What was changed.
        status: Exit status.
        seconds: Wall time.
        cpu: Processor time.
        memory: Most resident memory, in bytes.
        faults: What it did that it may not.
        said: End of what it said on stderr.
    """

    number: int
    kind: str
    verb: str
    what: str
    status: int
    seconds: float
    cpu: float
    memory: int
    faults: tuple[str, ...]
    said: str


def try_files(folder: Path, numbers: Sequence[int], seed: int, *, quick: bool = False) -> Iterator[Trial]:
    """Run a command with a changed file for each number.

    Args:
        folder: Where everything lies.
        numbers: The numbers.
        seed: The seed.
        quick: Whether only a few of the commands are run.
    """
    readers = [reader for reader in READERS if not quick or reader.argv in QUICK]
    with PoisedCommands(folder, seconds=SECONDS, memory=MEMORY) as commands:
        good = folder / "good"
        make_inputs(good, commands, with_result=not quick)
        shutil.rmtree(good / "fresh")
        for number in numbers:
            chance = random.Random(f"{seed} {number}")
            reader = chance.choices(readers, [one.weight for one in readers])[0]
            yield _trial(number, reader, mutate(good / reader.file, chance), good, folder / "case", commands)


def _trial(number: int, reader: Reader, mutant: Mutant, good: Path, case: Path, commands: PoisedCommands) -> Trial:
    shutil.rmtree(case, ignore_errors=True)
    shutil.copytree(good, case, ignore=_not_read_by(reader))
    (case / reader.file).write_bytes(mutant.content)
    before = _digests(case)
    ended = commands.run(case, *reader.argv)
    faults = (*_faults(ended, mutant), *_half_loads(ended.status, before, _digests(case)))
    verb = " ".join(word for word in reader.argv[:2] if "=" not in word)
    said = ended.err[-600:] if ended.status or faults else ""
    return Trial(number, reader.kind, verb, mutant.what, ended.status, ended.seconds, ended.cpu, ended.memory, faults, said)


def _not_read_by(reader: Reader) -> object:
    """What need not be copied for a command."""
    words = " ".join((reader.file, *reader.argv))
    unread = [name for name in ("own", "train", "search", "bundle", "b.zip", "result.json", "imported.json") if name not in words]
    if "export" in reader.argv or "report" not in reader.argv:
        unread += ["model.onnx", "report.html", "predictions"]
    if reader.kind != "journal of a measurement":
        unread.append("half.json*")
    return shutil.ignore_patterns(*unread)


def _faults(ended: Ended, mutant: Mutant) -> Iterator[str]:
    text = ended.out + ended.err
    if ended.status not in (0, 1, 2):
        yield f"status {ended.status}"
    if ended.status == 1 and "out of memory" in ended.err:
        yield "out of memory"
    if "Traceback" in text:
        yield "traceback"
    if ended.status and not ended.err.strip():
        yield "says nothing"
    if ended.status and len(ended.err.splitlines()) > MOST_LINES:
        yield f"{len(ended.err.splitlines())} lines"
    if any(len(line) > LINE for line in text.splitlines()):
        yield f"a line of {max(map(len, text.splitlines()))} characters"
    if found := _ENDLESS.search(text):
        yield f"quotes {len(found[0])} characters"
    if wrong := {one for one in text if unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp") and one != "\n"}:
        yield f"control characters {sorted(wrong)!r}"
    if mutant.is_wrong and ended.status == 0 and not ended.err.strip():
        yield "taken without a word"


def _half_loads(status: int, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    """What a command that failed changed in the files that were there, and what commands left behind."""
    if status:
        for name, digest in before.items():
            if after.get(name) != digest and not (status == 1 and _GROWS.search(name)):
                yield f"changed {name}"
    if status == 2:
        added = [
            name
            for name in after
            if name not in before and not name.startswith(("fresh/", "runs/")) and Path(name).name not in LOCKS
        ]
        if added:
            yield f"added {added[0]}"
    left = [name for name in after if name not in before and re.search(r"\.(tmp|part)\b", name)]
    if left:
        yield f"left {left[0]}"


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()
    }


def summary(trials: Sequence[Trial]) -> list[str]:
    """A line for every kind of file: number, statuses, slowest, most memory, faults."""
    lines = []
    for kind in [*dict.fromkeys(sorted(trial.kind for trial in trials)), "all"]:
        of_kind = [trial for trial in trials if kind in ("all", trial.kind)]
        statuses = dict(sorted(Counter(trial.status for trial in of_kind).items()))
        slowest, memory = max(trial.cpu for trial in of_kind), max(trial.memory for trial in of_kind) >> 20
        faults = sum(bool(trial.faults) for trial in of_kind)
        wall = max(trial.seconds for trial in of_kind)
        lines.append(
            f"{kind}: {len(of_kind)}, statuses {statuses}, {slowest:.1f} s cpu, {wall:.1f} s, {memory} MiB, {faults} faults"
        )
    return lines


def main(log: Path, count: int, seed: int = 18) -> None:
    """Go on with a log of trials up to a number of them, then sum up."""
    done = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    have = {trial["number"] for trial in done}
    with tempfile.TemporaryDirectory() as folder, log.open("a", encoding="utf-8") as file:
        left = [number for number in range(count) if number not in have]
        for trial in try_files(Path(folder), left, seed) if left else ():
            file.write(json.dumps(asdict(trial)) + "\n")
            file.flush()
    trials = [Trial(**json.loads(line)) for line in log.read_text(encoding="utf-8").splitlines()]
    sys.stdout.write("\n".join([*(f"{trial}" for trial in trials if trial.faults), *summary(trials)]) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
