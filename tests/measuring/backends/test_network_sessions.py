"""Networks stay open while there is memory, and are closed and opened again where there is not."""

from __future__ import annotations

import weakref

from nas.measuring.backends.network_sessions import FREE_SHARE, NetworkSessions
from nas.worker.interface import Run


class Session:
    """Takes memory from its opening on."""

    def __init__(self, machine: Machine, name: str) -> None:
        self.machine, self.name = machine, name
        machine.opened.append(name)
        machine.alive.add(self)
        assert machine.available() >= 0

    def __call__(self, calls: int) -> float:
        return float(calls)


class Machine:
    def __init__(self, room: int) -> None:
        self.room, self.opened = room, list[str]()
        self.alive = weakref.WeakSet[Session]()

    def available(self) -> int:
        return self.room - len(self.alive)

    def open(self, name: str) -> Run:
        return Session(self, name)


def held(machine: Machine, names: str, *, known: bool = True) -> dict[str, Run]:
    sessions = NetworkSessions(machine.available if known else lambda: None)
    return {name: sessions.hold(lambda name=name: machine.open(name)) for name in names}  # type: ignore[misc]


def test_with_enough_memory_each_is_opened_once() -> None:
    machine = Machine(100)
    runs = held(machine, "abc")
    assert machine.opened == list("abc")  # before any has run
    assert [runs[name](calls) for calls in (1, 2) for name in "abcb"] == [1.0] * 4 + [2.0] * 4
    assert machine.opened == list("abc")


def test_what_was_not_used_for_longest_is_closed_and_opened_again() -> None:
    machine = Machine(10)
    runs = held(machine, "abcdefghij")  # none has run, and there is room all the same
    assert machine.opened == list("abcdefghij")
    still = 10 - round(FREE_SHARE * 10) + 1
    oldest, second, third = "abcdefghij"[-still:][:3]
    assert len(machine.alive) == still
    runs[oldest](1)  # the second is now the one not used for longest
    runs["a"](1)
    runs[oldest](1)
    runs[third](1)
    assert machine.opened[10:] == ["a"]
    runs[second](1)
    assert machine.opened[10:] == ["a", second]
    for _ in range(3):
        for name in "abcdefghij":
            assert runs[name](3) == 3.0
    assert machine.available() >= 2


def test_room_is_made_for_what_comes_before_a_session() -> None:
    machine = Machine(10)
    sessions = NetworkSessions(machine.available)
    for name in "abcdefghi":
        sessions.hold(lambda name=name: machine.open(name))  # type: ignore[misc]
    assert machine.available() < FREE_SHARE * 10
    sessions.make_room()
    assert machine.available() >= FREE_SHARE * 10


def test_nothing_is_closed_where_nobody_knows_the_memory() -> None:
    machine = Machine(100)
    runs = held(machine, "ab", known=False)
    for name in "abab":
        runs[name](1)
    assert machine.opened == ["a", "b"]
