"""The one loop of rounds, with what its users choose; what it recovers is tested in tests/stages/test_profiling_accuracy.py."""

from __future__ import annotations

import pytest

from nas.worker.drift import REFERENCE_EVERY
from nas.worker.interface import Run
from nas.worker.rounds import Log, Rounds, Sampling, measure_rounds, shuffled

KEYS = ["a", "b", "c"]


def prepare(key: str) -> Run:
    return lambda calls: 1.0 + KEYS.index(key)  # noqa: ARG005


def test_without_a_reference_every_round_holds_each_key_once_in_its_order() -> None:
    log = Log()
    measure_rounds(KEYS, None, prepare, log=log, rounds=Rounds(3, 3, 0.0), sampling=Sampling(is_program=True))
    orders = [[timing.key for timing in log.timings if timing.round_index == index] for index in range(3)]
    assert orders == [shuffled(KEYS, index) for index in range(3)]
    assert orders[0] != orders[1] or orders[1] != orders[2]
    assert not any(timing.is_reference for timing in log.timings)


def test_samples_that_never_differ_end_early_only_where_a_width_is_asked_for() -> None:
    for ci, expected in ((0.02, 4), (0.0, 9)):
        log = Log()
        measure_rounds(KEYS, "b", prepare, log=log, rounds=Rounds(2, 9, ci))
        assert {log.samples_of(key) for key in KEYS} == {expected}


def test_no_round_is_begun_after_its_time_but_the_fewest_are_taken() -> None:
    log = Log()
    measure_rounds(KEYS, None, prepare, log=log, rounds=Rounds(3, 50, 0.0, seconds=0.0))
    assert {log.samples_of(key) for key in KEYS} == {3}


@pytest.mark.parametrize("every", [1, 2, REFERENCE_EVERY])
def test_reference_is_timed_first_every_few_samples_and_at_the_end_of_a_round(every: int) -> None:
    log = Log()
    measure_rounds(KEYS, "a", prepare, log=log, rounds=Rounds(2, 2, 0.0), sampling=Sampling(reference_every=every))
    kinds = ["R" if timing.is_reference else "s" for timing in log.timings]
    one = "R" + "".join("s" + ("R" if number % every == 0 or number == 3 else "") for number in (1, 2, 3))
    assert "".join(kinds) == one + one[1:]


def test_calls_of_a_sample_are_the_users_and_those_of_the_reference_are_not() -> None:
    log = Log()
    measure_rounds(KEYS, "a", prepare, log=log, rounds=Rounds(1, 1, 0.0), sampling=Sampling(calls=lambda ms: round(6 / ms)))
    assert [log.calls_of(key) for key in KEYS] == [6, 3, 2]
    assert log.calls_of("a", is_reference=True) == 5
