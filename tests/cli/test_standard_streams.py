"""What cannot be said on the standard output or error stops no work."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from nas.cli.standard_streams import StandardStream, standard_streams


@pytest.mark.parametrize(("is_closed", "number"), [(True, errno.EBADF), (False, errno.ENOSPC)])
def test_what_cannot_be_written_is_taken_and_kept_as_an_error(is_closed: bool, number: int) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        stream = StandardStream(full.fileno(), is_closed=is_closed)
        assert stream.failure is None
        assert stream.write(b"four") == 4
        assert stream.failure is not None
        assert stream.failure.errno == number


def test_a_reader_that_has_gone_is_an_error_as_before() -> None:
    read, write = os.pipe()
    os.close(read)
    with pytest.raises(BrokenPipeError):
        StandardStream(write, is_closed=False).write(b"x")
    os.close(write)


def test_the_number_of_a_closed_output_goes_to_no_result(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        os.close(1)
        sys.stdout = None  # type: ignore[assignment]  as the interpreter has it then
        with standard_streams() as out, (tmp_path / "result").open("w") as result:
            sys.stdout.write("said")
            sys.stdout.flush()
            os._exit(0 if result.fileno() > 2 and out.failure is not None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
