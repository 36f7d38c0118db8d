"""Lines of the worker while it measures."""

import json
import sys
import time
from typing import Tuple

SAY_EVERY_S = 5.0
"""Pause between two lines of progress that a person reads."""


class OutputLostError(Exception):
    """The standard output cannot be written any more; its cause says why."""


class EventStream:
    """Says what happens, to a person or, as one JSON object a line, to a program.

    Args:
        as_json: Whether a program reads it.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._start = time.monotonic()
        self._said = self._start
        self._first: Tuple[float, int] = (self._start, -1)
        self._lead = "\n" if as_json else ""  # ends what a log-in shell may have begun

    def event(self, name: str, value: object, text: str) -> None:
        """Say something: to a program its name and value, to a person a text."""
        self._put(json.dumps({name: value}) if self._as_json else text)

    def timing(self, line: str) -> None:
        """Pass a line of the journal on to a program."""
        if self._as_json:
            self._put(f'{{"timing": {line}}}')

    def progress(self, done: int, total: int) -> None:
        """Say how many samples there are, and how many there will be as far as is known."""
        now = time.monotonic()
        if self._first[1] < 0:
            self._first = (now, done)
        if self._as_json:
            self._put(json.dumps({"progress": [done, total]}))
        elif self._is_time():
            since, there = self._first
            left_s = (total - done) * (now - since) / max(1, done - there)
            left = f"{left_s:.0f} s" if left_s < 120 else f"{left_s / 60:.0f} min"
            self._put(f"{done} of about {total} samples" + (f", about {left} left" if done > there else ""))

    def ready(self, done: int, total: int) -> None:
        """Say how many operations were made ready, which for some runtimes takes longer than the measurement."""
        if self._as_json:
            self._put(json.dumps({"ready": [done, total]}))
        elif self._is_time():
            self._put(f"{done} of {total} operations are ready")

    def _is_time(self) -> bool:
        """Whether a person should hear something again."""
        now = time.monotonic()
        if now - self._said < SAY_EVERY_S:
            return False
        self._said = now
        return True

    def _put(self, text: str) -> None:
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        line = f"{self._lead}{text}\n".encode(encoding, "backslashreplace").decode(encoding)
        try:
            sys.stdout.write(line)
            sys.stdout.flush()
        except OSError as error:
            raise OutputLostError(error.strerror) from error
        self._lead = ""
