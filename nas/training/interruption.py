"""Ctrl-C and SIGTERM: the first one ends a run after its step; a further Ctrl-C ends it at once."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from nas.errors import TerminatedError

log = logging.getLogger("nas")


class Interruption:
    """A signal that came, or none yet; the loop looks at it between steps."""

    def __init__(self) -> None:
        self._event, self._number = threading.Event(), signal.SIGINT

    def is_set(self) -> bool:
        """Whether one came."""
        return self._event.is_set()

    def set(self, number: int) -> None:
        """Note the first one."""
        self._number = signal.Signals(number)
        self._event.set()

    def error(self) -> KeyboardInterrupt:
        """What to raise once the run is saved: SIGTERM has an exit status of its own."""
        return TerminatedError() if self._number == signal.SIGTERM else KeyboardInterrupt()


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Turn the first Ctrl-C or SIGTERM into a flag that the loop looks at between steps.

    A Ctrl-C after that interrupts at once. A SIGTERM after that does not: schedulers send it to every process of a job, and so does
    torchrun to its own, and what cannot wait any longer they kill.

    Only the main thread can handle signals: in another thread, the flag is never set.
    """
    came = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield came
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        if came.is_set():
            if number == signal.SIGINT:
                signal.default_int_handler(number, frame)
            return
        again = "press Ctrl-C again to stop at once" if number == signal.SIGINT else "got SIGTERM"
        log.warning("stopping after this step and saving a checkpoint; %s", again)
        came.set(number)

    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
