"""Two writers of one table: who measures is alone, and who changes the file waits for its turn."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from nas.cost.table_lock import changing_table, measuring_into, remove_stale_locks
from nas.errors import ConfigError


def test_a_second_measurement_is_refused_and_a_change_beside_it_is_not(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    with measuring_into(path, "profile"):
        with changing_table(path, "profile import"):
            pass
        with pytest.raises(ConfigError, match=rf"^the table {path} is being written by nas profile .*another file by out=$"):
            measuring_into(path, "profile").__enter__()
        with measuring_into(tmp_path / "other.json", "profile"):
            pass
    assert list(tmp_path.iterdir()) == []


def test_locks_of_killed_processes_are_removed_and_that_of_a_measurement_is_not(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    stale = [tmp_path / ".table.json.lock", tmp_path / ".table.json.measuring.lock"]
    for lock in stale:
        lock.write_text("")
    remove_stale_locks(path)
    assert list(tmp_path.iterdir()) == []
    with measuring_into(path, "profile"):
        remove_stale_locks(path)
        assert list(tmp_path.iterdir()) == [stale[1]]
        with pytest.raises(ConfigError, match="is being written by nas profile"):
            measuring_into(path, "profile").__enter__()


def test_changes_follow_each_other(tmp_path: Path) -> None:
    path = tmp_path / "tables" / "count"

    def add() -> None:
        for _ in range(20):
            with changing_table(path, "profile"):
                path.write_text(str(int(path.read_text()) + 1 if path.exists() else 1))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() == "80"
