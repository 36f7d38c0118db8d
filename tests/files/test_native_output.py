"""What compiled code prints goes to standard error, and nothing else does."""

import os
import sys

import pytest

from nas.files.native_output import native_output_on_stderr


def test_within_the_block_alone_descriptor_1_is_standard_error(capfd: pytest.CaptureFixture[str]):
    def fail() -> None:
        with native_output_on_stderr():
            os.write(1, b"of a library\n")
            raise ValueError("inside")

    sys.stdout.write("before\n")
    with pytest.raises(ValueError, match="inside"):
        fail()
    os.write(1, b"after\n")
    assert capfd.readouterr() == ("before\nafter\n", "of a library\n")
