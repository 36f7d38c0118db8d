"""Ctrl-C and SIGTERM: a flag first; a Ctrl-C then interrupts; the handlers of before are back after the block."""

from __future__ import annotations

import signal
import threading

import pytest

from nas.errors import TerminatedError
from nas.training.interruption import interruptible


def test_the_first_ctrl_c_sets_the_event_and_the_second_interrupts():
    before = signal.getsignal(signal.SIGINT)
    with interruptible() as event:
        assert not event.is_set()
        signal.raise_signal(signal.SIGINT)
        assert event.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_the_handler_of_before_is_back_after_an_error():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="own"), interruptible():
        raise ValueError("own")
    assert signal.getsignal(signal.SIGINT) is before


def test_another_thread_handles_no_signals():
    found = []

    def run():
        before = signal.getsignal(signal.SIGINT)
        with interruptible() as event:
            found.append((event.is_set(), signal.getsignal(signal.SIGINT) is before))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [(False, True)]


def test_sigterm_sets_the_flag_however_often_it_comes_and_ctrl_c_still_interrupts():
    before = signal.getsignal(signal.SIGTERM)
    with interruptible() as event:
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
        assert event.is_set()
        assert isinstance(event.error(), TerminatedError)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_first_signal_says_what_stopped_the_run():
    with interruptible() as event:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    assert type(event.error()) is KeyboardInterrupt
