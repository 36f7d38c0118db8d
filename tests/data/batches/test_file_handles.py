"""Whether there are open files enough for workers: the arithmetic, and what is advised."""

import resource

import pytest

from nas.data.batches import file_handles
from nas.data.batches.file_handles import A_WORKER, BESIDE, check_handles, more_handles
from nas.errors import ConfigError


@pytest.fixture
def allow(monkeypatch):
    """Set the limits, with ten open files."""
    monkeypatch.setattr(file_handles, "_in_use", lambda: 10)

    def set_limits(now, most=4096):
        monkeypatch.setattr(resource, "getrlimit", lambda which: (now, most))

    return set_limits


def test_the_number_that_is_said_to_fit_fits_and_one_more_does_not(allow):
    allow(64)
    with pytest.raises(ConfigError) as refused:
        check_handles(16)
    needed = 10 + 16 * A_WORKER + BESIDE
    assert str(refused.value) == (
        f"data.workers: got 16, which need {needed} open files, expected at most the 64 that are allowed; "
        "allow more by ulimit -n 1024 before the command, or give data.workers=4"
    )
    check_handles(4)
    with pytest.raises(ConfigError):
        check_handles(5)
    with pytest.raises(ConfigError, match="or give data.workers=1$"):
        check_handles(4, loaders=2)
    check_handles(1, loaders=2)


def test_no_workers_and_no_limit_are_never_refused(allow):
    allow(4)
    check_handles(0)
    allow(resource.RLIM_INFINITY)
    check_handles(1000)


@pytest.mark.parametrize(
    ("now", "most", "needed", "expected"),
    [
        (64, 64, 100, "more than the hard limit of 64 (ulimit -Hn) takes another shell or an administrator"),
        (64, 128, 100, "allow more by ulimit -n 128 before the command"),
        (64, 4096, 1025, "allow more by ulimit -n 2048 before the command"),
        (1024, resource.RLIM_INFINITY, None, "allow more by ulimit -n 2048 before the command"),
        (1024, 1024, None, "more than the hard limit of 1024 (ulimit -Hn) takes another shell or an administrator"),
    ],
)
def test_the_advised_limit_is_one_that_can_be_given(allow, now, most, needed, expected):
    allow(now, most)
    assert more_handles(needed) == expected


def test_open_files_of_this_process_are_counted(tmp_path):
    before = file_handles._in_use()
    with (tmp_path / "a").open("w"), (tmp_path / "b").open("w"):
        assert file_handles._in_use() == before + 2
