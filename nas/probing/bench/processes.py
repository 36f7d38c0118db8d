"""The processes that take steps, one for each variant, as the process that drives them sees them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from nas.errors import ConfigError, WorkerStoppedError
from nas.probing.bench.cases import Shape, Variant

_LAST_CHARACTERS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Request to a process.

    Args:
        space: Name of the search space.
        space_settings: What differs from its defaults.
        shape: Size of the batch.
        variant: How a step is taken.
        threads: CPU threads.
        seed: Seed of weights, batch and noise.
        path: The checkout of a peer; empty: our own step.
    """

    space: str
    space_settings: Mapping[str, Any] = field(default_factory=dict)
    shape: Shape
    variant: Variant
    threads: int
    seed: int
    path: str = ""

    def __str__(self) -> str:
        """In words."""
        return f"{self.space} at {self.shape}, {self.variant}"

    def line(self) -> str:
        """As the process reads it."""
        facts = asdict(self)
        del facts["shape"], facts["variant"]
        return json.dumps({**facts, **self.shape._asdict(), **self.variant._asdict()})


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of a process that has taken steps, in bytes; None where the system does not state it.

    Args:
        idle: Resident before anything was built.
        peak: The most that was resident.
        activations: The most that was saved for backward passes, parameters and buffers apart.
    """

    idle: int | None
    peak: int | None
    activations: int

    @property
    def beside_idle(self) -> int | None:
        """The peak beside the idle process."""
        return None if self.peak is None or self.idle is None else self.peak - self.idle


class StepProcess:
    """A process of `nas.probing.bench.step_process`; it starts at once, so that several can get ready at the same time.

    Args:
        case: What it builds.
    """

    def __init__(self, case: Case) -> None:
        self._case = case
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as the process
        self._process = subprocess.Popen(  # noqa: S603  our own module
            [sys.executable, "-m", "nas.probing.bench.step_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            env={**os.environ, "OMP_NUM_THREADS": str(case.threads)},
        )

    def wait_until_ready(self) -> None:
        """Wait until it has imported everything, then let it build its case."""
        self._ask(self._case.line())

    def step(self) -> float:
        """Let it take a step; its duration in s."""
        return float(self._ask("step")["seconds"])

    def memory(self) -> Memory:
        """Its memory so far; it then takes one more step, which counts the activations that are saved."""
        facts = self._ask("memory")
        return Memory(facts["idle_bytes"], facts["peak_bytes"], facts["activation_bytes"])

    def _ask(self, line: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise self._stopped()
        facts: dict[str, Any] = json.loads(answer)
        return facts

    def _stopped(self) -> Exception:
        """The error to raise when it has ended before its time."""
        status = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", errors="replace").strip().splitlines()
        reason = lines[-1].strip()[-_LAST_CHARACTERS:] if lines else "it said nothing"
        if status < 0:
            reason = f"ended by signal {-status}" + (", as the system does when memory is short" if status == -9 else "")
        if self._case.path:
            return ConfigError(
                f"peer.{self._case.variant.peer}: the step of {self._case.path} failed: {reason}; "
                "expected a checkout of the official repository whose code runs with this Python and PyTorch; leave it out"
            )
        return WorkerStoppedError(
            f"{self._case}: the process that takes its steps stopped: {reason}; expected it to go on; "
            "give smaller shapes=, or fewer relaxations= or executions="
        )

    def close(self) -> None:
        """End it: it has nothing to save."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass  # the process has ended, so what it should stop no longer runs
        self._process.stdout.close()
        self._errors.close()
